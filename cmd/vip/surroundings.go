package main

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"daymark/internal/agent"
	"daymark/internal/datapath"
)

// surroundings is what the kernel last told of links and default routes. Safe for concurrent use.
type surroundings struct {
	node string
	tell func(agent.Surroundings) // called with each change

	mu       sync.Mutex // guards the fields below
	links    []datapath.Link
	defaults []datapath.Default
	subnets  map[string][]agent.Subnet // by link
}

// setLinks takes in the links. One that is down loses its IPv6 addresses: it is still in the networks that it was in, since nothing of
// those is to be had on another link.
func (s *surroundings) setLinks(links []datapath.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.subnets
	s.links, s.subnets = links, make(map[string][]agent.Subnet)
	for _, l := range links {
		now := subnets([]datapath.Link{l})
		if !l.Up && len(now) < len(before[l.Name]) {
			now = before[l.Name]
		}
		s.subnets[l.Name] = now
	}
	s.tell(s.sumLocked())
}

func (s *surroundings) setDefaults(defaults []datapath.Default) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.defaults = defaults
	s.tell(s.sumLocked())
}

func (s *surroundings) sumLocked() (out agent.Surroundings) {
	out.Links = make(map[string]string, len(s.links))
	for _, d := range s.defaults {
		if d.Gateway.IsValid() {
			out.Reserved = append(out.Reserved, reserve(d.Gateway, "the default gateway on "+d.Link))
		}
	}
	for _, l := range s.links {
		for _, p := range l.Own {
			if isOwn(l, p) {
				out.Reserved = append(out.Reserved, reserve(p.Addr(), "an address of node "+s.node+" itself"))
			}
		}
		for _, p := range l.Agents {
			out.Reserved = append(out.Reserved, reserve(p.Addr(), "held by another agent on node "+s.node))
		}
		out.Subnets = append(out.Subnets, s.subnets[l.Name]...)
		out.Links[l.Name] = trouble(l)
	}
	return out
}

// trouble returns why a link can't carry traffic, "" if it can.
func trouble(l datapath.Link) string {
	switch {
	case l.Loopback, l.Usable():
		return ""
	case !l.Up:
		return "is down"
	}
	return "has no carrier"
}

func reserve(addr netip.Addr, what string) agent.Reserved {
	return agent.Reserved{Prefix: netip.PrefixFrom(addr, addr.BitLen()), What: what}
}

// isOwn reports whether an address that no agent put on a link is one that the node is reached at. kube-proxy in IPVS mode puts the
// addresses of all Services on a dummy of its own (kube-ipvs0), others use the loopback link so.
func isOwn(l datapath.Link, p netip.Prefix) bool {
	return !p.Addr().IsLinkLocalUnicast() && !(p.IsSingleIP() && (l.NoARP || l.Loopback))
}

// subnets returns the networks that links are in.
func subnets(links []datapath.Link) []agent.Subnet {
	var out []agent.Subnet
	for _, l := range links {
		for _, p := range l.Own {
			if !l.Loopback && !p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() {
				out = append(out, agent.Subnet{Link: l.Name, Prefix: p})
			}
		}
	}
	return out
}

// watchSurroundings tells Services what is around this node: now, and as it changes.
func (n *node) watchSurroundings() {
	n.around = &surroundings{node: n.cfg.Node.Name, tell: n.services.SetSurroundings}
	n.around.setLinks(n.kernel.Links())
	defaults, err := datapath.Defaults()
	switch {
	case err == nil:
		n.around.setDefaults(defaults)
	case !errors.Is(err, datapath.ErrNoDefault):
		n.log.Warn("reading the default routes failed, trying on", "err", err)
	}
	n.add(func(ctx context.Context) error { return n.kernel.WatchDefaults(ctx, n.around.setDefaults) })
}

// usedLinks returns the links that addresses go to, with why one can't carry traffic, "" for those that can.
func (n *node) usedLinks() map[string]string {
	var used []string
	if n.controlPlane != nil {
		used = append(used, n.cfg.Links.ControlPlane)
	}
	if n.services != nil {
		used = append(used, n.services.Links()...)
	}
	out, links := make(map[string]string, len(used)), n.kernel.Links()
	for _, name := range used {
		out[name] = troubleOf(name, links)
	}
	return out
}
