package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"daymark/internal/vip"
)

// foreign is another host that uses an address.
type foreign struct {
	who string
	at  time.Time
	won bool // by the lease: this node let go
}

// foreignFor is how long a conflict is shown after the other host was last heard.
const foreignFor = time.Minute

// Passed takes in that the successor of an address was heard. Once that is so for all addresses of a claim, it is let go.
func (s *Services) Passed(a vip.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkeepLocked(a)
	g := s.holdingLocked(a.Prefix.Addr())
	if g == nil || !s.rights[g.Claim.Name].Passing {
		return
	}
	heard := s.passed[g.Claim.Name]
	if heard == nil {
		heard = make(map[vip.Key]bool)
		s.passed[g.Claim.Name] = heard
	}
	heard[a.Key()] = true
	if !slices.ContainsFunc(g.Addresses, func(b vip.Address) bool { return !heard[b.Key()] }) {
		s.cfg.Elector.Heard(g.Claim.Name)
	}
}

// Conflict takes in that a stranger was heard using an address that this node holds: users are told.
func (s *Services) Conflict(addr netip.Addr, who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.holdingLocked(addr); g != nil {
		s.cfg.Metrics.conflict()
		s.noteForeignLocked(addr, foreign{who: who, at: time.Now()})
		s.inbox.claims([]string{g.Claim.Name})
	}
}

// told is trouble that users were told of.
type told struct {
	text string
	at   time.Time
}

// Conflict takes in that a stranger was heard using an address of the control plane that this node holds.
func (c *ControlPlane) Conflict(addr netip.Addr, who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holdsLocked(addr) {
		c.cfg.Metrics.conflict()
		c.tellForeignLocked(addr, who)
	}
}

// holdsLocked reports whether this node has the right to addr.
func (c *ControlPlane) holdsLocked(addr netip.Addr) bool {
	return c.held && c.isLocked(addr)
}

// isLocked reports whether addr is the control plane's.
func (c *ControlPlane) isLocked(addr netip.Addr) bool {
	return slices.ContainsFunc(c.addresses, func(a vip.Address) bool { return a.Prefix.Addr() == addr })
}

// tellForeignLocked tells that who uses addr too, unless trouble with it was told a moment ago.
func (c *ControlPlane) tellForeignLocked(addr netip.Addr, who string) {
	if time.Since(c.told[addr].at) >= toldEvery {
		c.tellLocked(addr, fmt.Sprintf("%s is also used by %s", addr, who))
	}
}

// tellLocked tells the same trouble of an address once a minute at most.
func (c *ControlPlane) tellLocked(addr netip.Addr, text string) {
	last, now := c.told[addr], time.Now()
	if c.cfg.Tell == nil || last.text == text && now.Sub(last.at) < foreignFor {
		return
	}
	c.told[addr] = told{text, now}
	c.cfg.Tell(planeTrouble(text))
}

// holdingLocked returns the claim that addr belongs to, if this node has the right to it, and nil otherwise.
func (s *Services) holdingLocked(addr netip.Addr) *Group {
	if g := s.groups.having(addr); g != nil {
		if _, ok := s.rights[g.Claim.Name]; ok {
			return g
		}
	}
	for _, g := range s.former { // under the name that the claim had before
		if s.groups.claims[g.Claim.Name] == nil && slices.ContainsFunc(g.Addresses, func(a vip.Address) bool { return a.Prefix.Addr() == addr }) {
			return g
		}
	}
	return nil
}
