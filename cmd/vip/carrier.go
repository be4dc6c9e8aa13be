package main

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"daymark/internal/datapath"
	"daymark/internal/election"
)

// carrier turns the state of the control plane's link into fitness. It is for one goroutine; its timer is its own affair.
type carrier struct {
	link    string
	fitness *fitness
	elector *election.Healthy
	after   time.Duration    // until everything is given up (vip_loseleadership_timeout_seconds); 0 is never
	changed func(there bool) // told before fitness is
	log     *slog.Logger

	mu      sync.Mutex
	trouble string // why the link can't carry traffic, "" while it can
	timer   *time.Timer
}

// set takes in all links.
func (c *carrier) set(links []datapath.Link) {
	trouble := troubleOf(c.link, links)
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.trouble
	c.trouble = trouble
	switch {
	case trouble != "" && was == "":
		c.log.Warn("handing over", "reason", trouble, "link", c.link)
		c.changed(false)
		c.fitness.yield(c.elector, "link", trouble)
		if c.after > 0 {
			c.timer = time.AfterFunc(c.after, c.giveUp)
		}
	case trouble == "" && was != "":
		c.stopLocked()
		c.log.Info("link serves again", "link", c.link)
		c.changed(true)
		c.fitness.refuse(c.elector, "link", false)
		c.fitness.yield(c.elector, "link", "")
	}
}

// troubleOf returns why the link of that name can't carry traffic, "" if it can.
func troubleOf(name string, links []datapath.Link) string {
	text := "is not there"
	if i := slices.IndexFunc(links, func(l datapath.Link) bool { return l.Name == name }); i >= 0 {
		text = trouble(links[i])
	}
	if text == "" {
		return ""
	}
	return "link " + name + " " + text
}

// giveUp gives the address up, unless the link came back just now.
func (c *carrier) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		return
	}
	c.log.Warn("giving up", "reason", c.trouble, "link", c.link, "after", c.after)
	c.fitness.refuse(c.elector, "link", true)
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
