package main

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
)

const (
	// linkLooks is how often is looked, while a link settles, whether another node serves.
	linkLooks = 250 * time.Millisecond
	// cameBack is why a node takes nothing while its link settles.
	cameBack = "link came back just now"
)

// carrier turns the state of the control plane's link into fitness, and tells users of it. Safe for concurrent use; its timer is its own affair.
//
// A link that came back is no reason to take the address from a node that serves, for as long as of [agent.LinkSettles]: one that flaps moves
// nothing. Where no node serves it is one at once.
type carrier struct {
	link    string
	fitness *fitness
	elector *election.Healthy
	after   time.Duration     // until everything is given up (vip_loseleadership_timeout_seconds); 0 is never
	served  func() bool       // another node has the address, and isn't about to hand it over
	changed func(there bool)  // told before fitness is
	tell    func(agent.Event) // on this node's Node
	log     *slog.Logger

	mu      sync.Mutex
	trouble string      // why the link can't carry traffic, "" while it can
	since   time.Time   // when trouble began or ended; zero while there was none
	told    bool        // users were told of it, and not of its end
	timer   *time.Timer // when to look again
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
		c.since = time.Now()
		c.changed(false)
		if !c.told {
			c.told = true
			c.tell(agent.LinkEvent(c.link, trouble))
		}
		c.lookLocked()
	case trouble == "" && was != "":
		c.log.Info("link serves again", "link", c.link)
		c.since = time.Now()
		c.changed(true)
		c.lookLocked()
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

func (c *carrier) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.lookLocked()
	}
}

// lookLocked makes fitness what the link means by now. Looking once too often does no harm.
func (c *carrier) lookLocked() {
	c.stopLocked()
	lasts := time.Since(c.since)
	if c.trouble != "" {
		c.fitness.yield(c.elector, "link", c.trouble)
		switch {
		case c.after <= 0:
		case lasts < c.after:
			c.timer = time.AfterFunc(c.after-lasts, c.look)
		default:
			c.log.Warn("giving up", "reason", c.trouble, "link", c.link, "after", c.after)
			c.fitness.refuse(c.elector, "link", true)
		}
		return
	}
	c.fitness.refuse(c.elector, "link", false)
	reason := ""
	if left := agent.LinkSettles - lasts; left > 0 {
		c.timer = time.AfterFunc(min(left, linkLooks), c.look)
		if c.served() {
			reason = cameBack
		}
	} else if c.told {
		c.told = false
		c.tell(agent.LinkEvent(c.link, ""))
	}
	c.fitness.yield(c.elector, "link", reason)
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
