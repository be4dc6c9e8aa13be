package main

import (
	"log/slog"
	"sync"
	"time"
)

// carrier turns the state of the links for addresses into fitness. It is for one goroutine; its timer is its own affair.
type carrier struct {
	fitness *fitness
	after   time.Duration    // until everything is given up (vip_loseleadership_timeout_seconds); 0 is never
	changed func(there bool) // told before fitness is
	log     *slog.Logger

	mu    sync.Mutex
	down  string // the link that can't carry traffic, "" while all can
	timer *time.Timer
}

// set takes in which link can't carry traffic, "" for none.
func (c *carrier) set(down string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.down
	c.down = down
	switch {
	case down != "" && was == "":
		c.log.Warn("handing over", "reason", "link down", "link", down)
		c.changed(false)
		c.fitness.yield("link", down)
		if c.after > 0 {
			c.timer = time.AfterFunc(c.after, c.giveUp)
		}
	case down == "" && was != "":
		c.stopLocked()
		c.log.Info("link serves again", "link", was)
		c.changed(true)
		c.fitness.refuse(nil, "link", false)
		c.fitness.yield("link", "")
	}
}

// giveUp gives everything up, unless the link came back just now.
func (c *carrier) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		return
	}
	c.log.Warn("giving up", "reason", "link stays down", "link", c.down, "after", c.after)
	c.fitness.refuse(nil, "link", true)
}

func (c *carrier) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopLocked()
}

func (c *carrier) stopLocked() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
