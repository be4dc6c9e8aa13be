package main

import (
	"context"
	"slices"
	"time"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
	"daymark/internal/l2"
	"daymark/internal/vip"
)

// heard takes in that another host uses an address that is announced here.
func (n *node) heard(h l2.Heard) {
	member := n.member(h.MAC)
	switch {
	case h.Kind != l2.Claim:
		return
	case h.Late && member == "":
		n.holder.Contest(h.Key, &l2.Conflict{Heard: h})
		return
	case h.Late && h.Since.IsZero():
		return // the successor, to whom the address was passed on a moment after it was probed for
	case member != "":
		n.dispute(h, member)
		return
	}
	defended := n.lan.Defend(h.Key)
	n.log.Warn("conflict", "addr", h.Addr, "link", h.Link, "peer", h.MAC.String(), "defended", defended)
	if n.services != nil {
		n.services.Conflict(h.Addr, h.MAC.String())
	}
	if n.controlPlane != nil {
		n.controlPlane.Conflict(h.Addr, h.MAC.String())
	}
}

// handover is how long a member that passed an address on may go on using it, as it should: the second in which it answers until
// its successor is heard, and another for what its clients make it ask them meanwhile.
const handover = 2 * time.Second

// dispute takes in that another member uses an address that is announced here. Which of the two may is settled by the lease, at
// once: an agent that has lost it without knowing lets go now, and one that has it announces the address once more, at most once
// in 10 s.
func (n *node) dispute(h l2.Heard, member string) {
	log := n.log.With("addr", h.Addr, "link", h.Link, "node", member)
	if h.At.Sub(h.Since) < handover {
		log.Debug("the former holder used the address", "defended", n.lan.Defend(h.Key))
		return
	}
	settled := func(v election.Verdict) {
		log.Info("another member used the address", "verdict", string(v), "defended", v != election.Lost && n.lan.Defend(h.Key))
	}
	if n.services != nil && n.services.Dispute(h.Addr, member, settled) {
		return
	}
	if n.controlPlane != nil {
		n.controlPlane.Dispute(h.Addr, member, settled)
	}
}

// member returns the node of the agents' that has a hardware address, "" for a stranger.
func (n *node) member(mac l2.MAC) string {
	if n.station == nil {
		return ""
	}
	return n.station(mac.String())
}

// stranger reports whether it is certain that a frame is no member's: each of them says from where it announces, and on that link, which is
// one of those that this node tells of itself ([stations]).
func (n *node) stranger(h l2.Heard) bool {
	return n.station != nil && n.member(h.MAC) == "" && n.stationed(h.Link)
}

// tellStations has the other members know from where this node announces, and notes on which links it does, as they do on theirs.
func (n *node) tellStations(links []datapath.Link) {
	told := stations(links, n.cfg.Links.ControlPlane, n.cfg.Links.Services)
	n.members.SetStations(told)
	var on []string
	for _, l := range links {
		if slices.Contains(told, l.MAC.String()) {
			on = append(on, l.Name)
		}
	}
	n.told.Store(&on)
}

// allStationed reports whether every live member says from where it announces, on that link too as far as this node can tell.
func (n *node) allStationed(link string) bool {
	on := n.told.Load()
	return on != nil && slices.Contains(*on, link) && n.members.Stationed()
}

// stations returns the hardware addresses that this node announces from: of the links that it was given, and of all others
// that have addresses, since a Service may name its link.
func stations(links []datapath.Link, given ...string) []string {
	const most = 16 // they are in every renewal of the member's lease
	var out []string
	for _, l := range links {
		if len(l.MAC) > 0 && !l.Loopback && (slices.Contains(given, l.Name) || len(l.Own) > 0) && !slices.Contains(out, l.MAC.String()) {
			out = append(out, l.MAC.String())
		}
	}
	return out[:min(len(out), most)]
}

// says reports whether another member said it.
func (n *node) says(h l2.Heard) bool { return n.member(h.MAC) != "" }

// asks reports whether another member only asked for an address, as who was given the right to it a moment before or after this node does.
func (n *node) asks(h l2.Heard) bool { return h.Kind == l2.Query && n.says(h) }

// lanProber asks the LAN whether somebody uses an address, past what does not count.
type lanProber struct {
	lan  *l2.Announcer
	past func(l2.Heard) bool
}

// prober asks for what is new to everybody.
func (n *node) prober() lanProber { return lanProber{n.lan, n.asks} }

// strangers asks for what another member may have for a moment.
func (n *node) strangers() lanProber { return lanProber{n.lan, n.says} }

// Probe is [agent.Prober].
func (p lanProber) Probe(ctx context.Context, key vip.Key) error {
	return p.lan.ProbePast(ctx, key, p.past)
}

// lanListener turns what is heard on the LAN into the news that a successor announced itself.
type lanListener struct {
	lan      *l2.Announcer
	stranger func(l2.Heard) bool
}

// Listen is [agent.Listener].
func (l lanListener) Listen(key vip.Key) (<-chan agent.Said, func(), error) {
	frames, stop, err := l.lan.Listen(key)
	if err != nil {
		return nil, nil, err
	}
	heard, done := make(chan agent.Said), make(chan struct{})
	go func() {
		for {
			said := agent.Announced
			select {
			case f := <-frames:
				switch {
				case f.Kind == l2.Query:
					said = agent.Probed
				case l.stranger(f):
					said = agent.Misused
				}
			case <-done:
				return
			}
			select {
			case heard <- said:
			case <-done:
				return
			}
		}
	}()
	return heard, func() { close(done); stop() }, nil
}
