package ipam_test

import (
	"net/netip"
	"slices"

	"daymark/ipam"
)

func (n *naive) setPorts(s *service, ports []ipam.Port) {
	var added []ipam.Port
	for _, p := range ports {
		if !slices.Contains(s.ports, p) {
			added = append(added, p)
		}
	}
	lost := len(s.ports) > 0 && len(ports) == 0
	s.ports = ports
	for _, c := range s.holds {
		suspect := added
		if c.clash {
			suspect = ports
		}
		if c.given && (len(suspect) > 0 || lost) {
			c.clash = n.rival(c.addr, s, suspect)
		}
	}
}

// plan returns the addresses that s shall have, or why not.
func (n *naive) plan(s *service, r ipam.Request) (take []netip.Addr, refused, missing []ipam.Reason) {
	for _, addr := range r.Requested {
		f, c := ipam.FamilyOf(addr), s.claim(addr)
		single := r.Policy == ipam.SingleStack
		switch {
		case slices.Contains(take, addr):
		case single && len(r.Families) > 0 && f != r.Families[0], single && len(take) > 0 && ipam.FamilyOf(take[0]) != f:
			refused = append(refused, ipam.WrongFamily)
		case addr.IsUnspecified(), c != nil && c.given && !c.clash:
			take = append(take, addr)
		case n.isExcluded(addr):
			refused = append(refused, ipam.Excluded)
		case !n.config.AllowOutsidePools && !n.inPool(s.namespace, addr):
			refused = append(refused, ipam.NotInPool)
		case !n.joinable(addr, s):
			refused = append(refused, ipam.Taken)
		default:
			take = append(take, addr)
		}
	}
	if len(refused) > 0 {
		return nil, refused, nil
	}
	families, either := n.families(s, r, take)
	var lacking []ipam.Family
	for _, f := range families {
		if addr, ok := n.keep(s, f); ok {
			take = append(take, addr)
		} else {
			lacking = append(lacking, f)
		}
	}
	if either && len(lacking) == 1 {
		lacking = nil
	}
	holds := n.held(s.namespace)
	for _, c := range s.holds {
		if c.given && !slices.Contains(take, c.addr) && n.alone(c.addr, s) {
			holds--
		}
	}
	pay := func(addr netip.Addr) bool {
		quota, limited := n.config.Quota(s.namespace)
		switch {
		case !n.alone(addr, s):
			return true
		case limited && holds >= quota:
			return false
		}
		holds++
		return true
	}
	for _, addr := range take {
		if s.claim(addr) == nil && !pay(addr) {
			refused = append(refused, ipam.OverQuota)
		}
	}
	if len(refused) > 0 {
		return nil, refused, nil
	}
	for _, f := range lacking {
		addr, reason := n.choose(s, f)
		if reason == "" && !pay(addr) {
			reason = ipam.OverQuota
		}
		if reason != "" {
			refused = append(refused, reason)
			continue
		}
		if take = append(take, addr); either {
			return take, nil, nil
		}
	}
	if either {
		refused = slices.DeleteFunc(refused, func(r ipam.Reason) bool { return r == ipam.WrongFamily })
		if len(refused) == 0 {
			refused = []ipam.Reason{ipam.Exhausted}
		}
	}
	if r.Policy == ipam.PreferDualStack && len(take) > 0 {
		refused, missing = nil, refused
	}
	if len(refused) > 0 {
		take = nil
	}
	return take, refused, missing
}

func (n *naive) families(s *service, r ipam.Request, take []netip.Addr) (list []ipam.Family, either bool) {
	switch {
	case r.Policy == ipam.SingleStack && len(take) > 0:
		return nil, false
	case r.Policy == ipam.SingleStack && len(r.Families) > 0:
		return r.Families[:1], false
	case r.Policy == ipam.SingleStack:
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if _, ok := n.keep(s, f); ok {
				return []ipam.Family{f}, false
			}
		}
		return []ipam.Family{ipam.IPv4, ipam.IPv6}, true
	}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		if !slices.ContainsFunc(take, func(a netip.Addr) bool { return ipam.FamilyOf(a) == f }) {
			list = append(list, f)
		}
	}
	if len(r.Families) > 0 && r.Families[0] == ipam.IPv6 {
		slices.Reverse(list)
	}
	return list, false
}

func (n *naive) keep(s *service, f ipam.Family) (netip.Addr, bool) {
	for _, like := range []func(*claim) bool{
		func(c *claim) bool { return c.given && !c.leaving },
		func(c *claim) bool { return c.given },
		func(c *claim) bool { return !c.given },
	} {
		for _, c := range s.holds {
			inPool := n.inPool(s.namespace, c.addr)
			switch {
			case ipam.FamilyOf(c.addr) != f || !like(c):
			case c.given && !c.clash && (inPool || !c.requested):
				return c.addr, true
			case !c.given && inPool && !c.addr.IsUnspecified() && !n.isExcluded(c.addr) && len(n.others(c.addr, s)) == 0:
				return c.addr, true
			}
		}
	}
	return netip.Addr{}, false
}

func (n *naive) choose(s *service, f ipam.Family) (netip.Addr, ipam.Reason) {
	addrs := universe()
	if n.config.Order == ipam.Descending {
		slices.Reverse(addrs)
	}
	reason := ipam.NoPool
	for _, pool := range n.pools(s.namespace) {
		if reason == ipam.NoPool {
			reason = ipam.WrongFamily
		}
		if n.dhcp(pool, f) {
			return map[ipam.Family]netip.Addr{ipam.IPv4: netip.IPv4Unspecified(), ipam.IPv6: netip.IPv6Unspecified()}[f], ""
		}
		addrs := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return ipam.FamilyOf(a) != f || !n.has(pool, a) })
		if len(addrs) > 0 {
			reason = ipam.Exhausted
		}
		for _, a := range addrs {
			if len(n.others(a, nil)) > 0 && s.claim(a) == nil && len(s.ports) > 0 && !n.isExcluded(a) && n.joinable(a, s) {
				return a, ""
			}
		}
		for _, a := range addrs {
			if n.free(a) {
				return a, ""
			}
		}
	}
	return netip.Addr{}, reason
}

// apply makes a plan true.
func (s *service) apply(take []netip.Addr, r ipam.Request) {
	for _, c := range s.holds {
		c.leaving = c.given && !slices.Contains(take, c.addr)
	}
	for _, addr := range take {
		c := s.claim(addr)
		if c == nil {
			c = &claim{addr: addr}
			s.holds = append(s.holds, c)
		}
		if !c.given {
			c.given, c.fresh = true, true
		}
		c.requested = slices.Contains(r.Requested, addr)
	}
}

func (s *service) finish(commit bool) {
	for _, c := range s.holds {
		if commit && c.leaving || !commit && c.fresh {
			c.given = false
		}
		c.fresh, c.leaving = false, false
		c.clash = c.clash && c.given
	}
	s.sweep()
}

func (n *naive) observe(e ipam.Existing) {
	s := n.service(e.Owner)
	if !slices.ContainsFunc(s.holds, func(c *claim) bool { return c.given }) {
		s.ports = e.Ports
	}
	shown := append(slices.Clone(e.Addrs), e.Shown...)
	for _, addr := range shown {
		if s.claim(addr) == nil {
			s.holds = append(s.holds, &claim{addr: addr})
		}
	}
	for _, c := range s.holds {
		c.shown = slices.Contains(shown, c.addr)
	}
	s.sweep()
}
