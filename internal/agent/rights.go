package agent

import (
	"context"
	"slices"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// apply is what the elector calls.
func (s *Services) apply(ctx context.Context, rights []election.Right, stopping bool) error {
	if stopping && s.cfg.StayAtStop {
		return nil
	}
	s.mu.Lock()
	s.stopping = s.stopping || stopping
	var changed []string
	for _, r := range rights {
		if old, ok := s.rights[r.Claim]; !ok || old.Passing != r.Passing {
			changed = append(changed, r.Claim)
			delete(s.passed, r.Claim) // who was heard before took it then
			s.cfg.Logger.Debug("right", "lease", r.Claim, "passing", r.Passing, "failover", r.Failover, "contended", r.Contended)
		}
		s.rights[r.Claim] = r
		delete(s.kept, r.Claim)
	}
	for _, lost := range s.rightsNotIn(rights) {
		changed = append(changed, lost.Claim)
		delete(s.rights, lost.Claim)
		delete(s.former, lost.Claim)
		delete(s.passed, lost.Claim)
		if s.cfg.Preserve && !s.stopping && !s.cfg.Detached && !lost.Passing {
			if g := s.groups.claims[lost.Claim]; g != nil && !s.links.cut(g.Addresses) {
				s.kept[lost.Claim] = true
			}
		}
	}
	if s.stopping {
		clear(s.kept)
	}
	first := !s.spoken
	s.list, s.spoken = rights, true
	version := s.cfg.Holder.Set(SourceServices, s.wants())
	s.mu.Unlock()
	if len(changed) > 0 {
		s.inbox.claims(changed)
	}
	if first {
		s.inbox.hosts() // a former run may have left its name
	}
	return s.cfg.Holder.Await(ctx, version)
}

// rightsNotIn returns the rights of before that are not in now, which are among them already.
func (s *Services) rightsNotIn(now []election.Right) []election.Right {
	if len(s.rights) == len(now) {
		return nil
	}
	still := make(map[string]struct{}, len(now))
	for _, r := range now {
		still[r.Claim] = struct{}{}
	}
	var out []election.Right
	for claim, r := range s.rights {
		if _, ok := still[claim]; !ok {
			out = append(out, r)
		}
	}
	return out
}

// remember notes what the rights are for. A claim whose addresses change is another claim: until the right to that one is
// here, or somebody else has it, the right to the old one is for what is still wanted of it, and no address is dropped.
func (s *Services) remember() {
	for _, r := range s.list {
		if g := s.groups.claims[r.Claim]; g != nil {
			s.former[r.Claim] = g
		}
	}
}

// still returns what of the addresses of g, which is no claim any more, is wanted under another name.
func (s *Services) still(g *Group) []vip.Address {
	return slices.DeleteFunc(slices.Clone(g.Addresses), func(a vip.Address) bool {
		now := s.groups.having(a.Prefix.Addr())
		return now == nil || !slices.ContainsFunc(now.Addresses, func(b vip.Address) bool { return a.Key() == b.Key() })
	})
}

// wants returns the addresses that the rights are for.
func (s *Services) wants() []Want {
	s.remember()
	out := make([]Want, 0, len(s.rights))
	for _, r := range s.list {
		g := s.former[r.Claim]
		if g == nil {
			continue
		}
		addresses := g.Addresses
		if s.groups.claims[r.Claim] == nil {
			addresses = s.still(g)
		}
		leaving := s.leaves(g)
		for _, a := range addresses {
			a.Until, a.Route.Leaving = r.Until, leaving
			out = append(out, Want{
				Address: a, Quiet: r.Passing, Passing: r.Passing, Detached: s.cfg.Detached, Sure: r.Failover, Contended: r.Contended,
			})
		}
	}
	for claim := range s.kept {
		for _, a := range s.groups.claims[claim].Addresses {
			out = append(out, Want{Address: a, Quiet: true, Kept: true, Sure: true})
		}
	}
	return out
}
