package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"time"

	"daymark/internal/election"
)

// toldEvery is the least between two Events about different hosts that use one address: a host can make up any number of others.
const toldEvery = 10 * time.Second

// disputes are when other members were heard last to use addresses that are this node's.
type disputes map[netip.Addr]time.Time

// again notes one more and reports whether it was repeated: a single frame may have been on its way for long.
func (d disputes) again(addr netip.Addr, now time.Time) bool {
	maps.DeleteFunc(d, func(_ netip.Addr, last time.Time) bool { return now.Sub(last) >= foreignFor })
	_, repeated := d[addr]
	d[addr] = now
	return repeated
}

// Dispute has the lease settle it that another member, node, was heard to use an address which this node holds: the right to it
// is confirmed, or over at once; see [election.Elector] Verify. It returns false where this node has no right to the address,
// and else tells settled what came of it.
func (s *Services) Dispute(addr netip.Addr, node string, settled func(election.Verdict)) bool {
	s.mu.Lock()
	g := s.holdingLocked(addr)
	s.mu.Unlock()
	if g == nil {
		return false
	}
	claim := g.Claim.Name
	s.cfg.Elector.Verify(claim, func(v election.Verdict) {
		s.cfg.Metrics.disputed(v)
		s.mu.Lock()
		if f := (foreign{"node " + node, time.Now(), v == election.Lost}); s.disputes.again(addr, f.at) || f.won {
			s.noteForeignLocked(addr, f)
			s.inbox.claims([]string{claim})
		}
		s.mu.Unlock()
		settled(v)
	})
	return true
}

// noteForeignLocked notes who uses an address. Who is heard beside another within toldEvery is left out.
func (s *Services) noteForeignLocked(addr netip.Addr, f foreign) {
	last, known := s.foreign[addr]
	if !known {
		maps.DeleteFunc(s.foreign, func(_ netip.Addr, old foreign) bool { return f.at.Sub(old.at) >= foreignFor })
	}
	if f.won || last.who == f.who || f.at.Sub(last.at) >= toldEvery {
		s.foreign[addr] = f
	}
}

// givenUp returns the Event about an address of w that another member has by the lease, which this node learned from hearing it.
func (s *Services) givenUp(w Wish) Event {
	for _, a := range w.Addresses {
		addr := a.Prefix.Addr()
		if f := s.foreign[addr]; f.won && time.Since(f.at) < foreignFor {
			return trouble(givenUp(addr, f.who))
		}
	}
	return Event{}
}

func givenUp(addr netip.Addr, who string) string {
	return fmt.Sprintf("%s given up: %s uses it, and the lease is not this node's any more", addr, who)
}

// Dispute is [Services.Dispute] for an address of the control plane.
func (c *ControlPlane) Dispute(addr netip.Addr, node string, settled func(election.Verdict)) bool {
	c.mu.Lock()
	here := c.holdsLocked(addr)
	c.mu.Unlock()
	if !here {
		return false
	}
	c.cfg.Elector.Verify(controlPlaneClaim, func(v election.Verdict) {
		c.cfg.Metrics.disputed(v)
		c.mu.Lock()
		who := "node " + node
		switch again := c.disputes.again(addr, time.Now()); {
		case v == election.Lost:
			c.tellLocked(addr, givenUp(addr, who))
		case again:
			c.tellForeignLocked(addr, who)
		}
		c.mu.Unlock()
		settled(v)
	})
	return true
}
