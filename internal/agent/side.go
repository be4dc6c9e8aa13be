package agent

import (
	"context"
	"slices"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// side is one elector and what it is for.
type side struct {
	source   string
	elector  Elector
	spread   bool
	detached bool
	leaves   func(*Group) bool // whether routers should use other nodes first
	groups   map[string]*Group // by claim; kept by [groups]
	list     []election.Right  // as given, sorted by claim
	rights   map[string]election.Right
	former   map[string]*Group // what the rights are for, also where the claim has another name by now
	kept     map[string]bool   // claims whose right was lost and whose addresses are preserved
	spoken   bool              // Apply was called
	wanted   map[vip.Key]bool  // of all groups; made when it is needed
}

// note makes wanted, unless it is there.
func (d *side) note() {
	if d.wanted != nil {
		return
	}
	d.wanted = make(map[vip.Key]bool)
	for _, g := range d.groups {
		for _, a := range g.Addresses {
			d.wanted[a.Key()] = true
		}
	}
}

func newSide(source string, e Elector, cfg *ServicesConfig, leaves func(*Group) bool) *side {
	return &side{
		source: source, elector: e, spread: source == SourceSpread, detached: cfg.Detached, leaves: leaves,
		rights: make(map[string]election.Right), former: make(map[string]*Group), kept: make(map[string]bool),
	}
}

// apply is what the elector of a side calls.
func (s *Services) apply(ctx context.Context, side *side, rights []election.Right, stopping bool) error {
	if stopping && s.cfg.StayAtStop {
		return nil
	}
	s.mu.Lock()
	s.stopping = s.stopping || stopping
	var changed []string
	for _, r := range rights {
		if old, ok := side.rights[r.Claim]; !ok || old.Passing != r.Passing {
			changed = append(changed, r.Claim)
			s.cfg.Logger.Debug("right", "lease", r.Claim, "passing", r.Passing, "failover", r.Failover)
		}
		side.rights[r.Claim] = r
		delete(side.kept, r.Claim)
	}
	for _, lost := range side.notIn(rights) {
		changed = append(changed, lost.Claim)
		delete(side.rights, lost.Claim)
		delete(side.former, lost.Claim)
		if s.cfg.Preserve && !s.stopping && !s.cut && !side.detached && side.groups[lost.Claim] != nil && keepable(lost) {
			side.kept[lost.Claim] = true
		}
	}
	if s.stopping {
		clear(side.kept)
	}
	side.list, side.spoken = rights, true
	version := s.cfg.Holder.Set(side.source, side.wants())
	s.mu.Unlock()
	if len(changed) > 0 {
		s.inbox.claims(changed)
	}
	return s.cfg.Holder.Await(ctx, version)
}

// notIn returns the rights of before that are not in now, which are among them already.
func (d *side) notIn(now []election.Right) []election.Right {
	if len(d.rights) == len(now) {
		return nil
	}
	still := make(map[string]struct{}, len(now))
	for _, r := range now {
		still[r.Claim] = struct{}{}
	}
	var out []election.Right
	for claim, r := range d.rights {
		if _, ok := still[claim]; !ok {
			out = append(out, r)
		}
	}
	return out
}

// remember notes what the rights are for. A claim whose addresses change is another claim: until the right to that one is
// here, or somebody else has it, the right to the old one is for what is still wanted of it, and no address is dropped.
func (d *side) remember() {
	for _, r := range d.list {
		if g := d.groups[r.Claim]; g != nil && d.former[r.Claim] != g {
			d.former[r.Claim] = g
		}
	}
}

// still returns what of the addresses of g, which is no claim any more, is wanted under another name.
func (d *side) still(g *Group) []vip.Address {
	return slices.DeleteFunc(slices.Clone(g.Addresses), func(a vip.Address) bool { return !d.wanted[a.Key()] })
}

// wants returns the addresses that the rights of a side are for.
func (d *side) wants() []Want {
	d.remember()
	d.wanted = nil
	out := make([]Want, 0, len(d.rights))
	for _, r := range d.list {
		g := d.former[r.Claim]
		if g == nil {
			continue
		}
		addresses := g.Addresses
		if d.groups[r.Claim] == nil {
			d.note()
			addresses = d.still(g)
		}
		leaving := d.leaves(g)
		for _, a := range addresses {
			a.Until, a.Route.Leaving = r.Until, leaving
			out = append(out, Want{Address: a, Quiet: r.Passing, Passing: r.Passing, Detached: d.detached, Sure: r.Failover})
		}
	}
	for claim := range d.kept {
		for _, a := range d.groups[claim].Addresses {
			out = append(out, Want{Address: a, Quiet: true, Kept: true, Sure: true})
		}
	}
	return out
}
