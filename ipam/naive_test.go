package ipam_test

import (
	"net/netip"
	"slices"
	"strings"

	"daymark/ipam"
)

// naive is the allocator's rules told in the plainest way: every address of a small universe is looked at, every time.
type naive struct {
	config   ipam.Config
	excluded []ipam.Exclusion
	services map[string]*service
}

type service struct {
	owner, namespace string
	ports            []ipam.Port
	holds            []*claim
	last             ipam.Request
	waits, woken     bool
}

type claim struct {
	addr                                           netip.Addr
	given, fresh, leaving, shown, requested, clash bool
}

// universe is every address that the configurations of the model test speak of, from the lowest.
func universe() []netip.Addr {
	var out []netip.Addr
	for a := netip.MustParseAddr("10.0.0.250"); a != netip.MustParseAddr("10.0.1.10"); a = a.Next() {
		out = append(out, a)
	}
	for a := netip.MustParseAddr("fd00::"); a != netip.MustParseAddr("fd00::9"); a = a.Next() {
		out = append(out, a)
	}
	return out
}

func (n *naive) service(owner string) *service {
	if n.services[owner] == nil {
		namespace, _, _ := strings.Cut(owner, "/")
		n.services[owner] = &service{owner: owner, namespace: namespace}
	}
	return n.services[owner]
}

func (s *service) claim(addr netip.Addr) *claim {
	for _, c := range s.holds {
		if c.addr == addr {
			return c
		}
	}
	return nil
}

func (s *service) sweep() {
	s.holds = slices.DeleteFunc(s.holds, func(c *claim) bool { return !c.given && !c.shown })
}

// has reports whether the pool has addr to give.
func (n *naive) has(pool string, addr netip.Addr) bool {
	p, ok := n.config.Pool(pool)
	if !ok {
		return false
	}
	list := append(slices.Clone(p.CIDR), p.Range...)
	if n.config.Precedence == ipam.Legacy && p.CIDR != nil {
		list = p.CIDR
	}
	for _, e := range list {
		last := addr.AsSlice()[len(addr.AsSlice())-1]
		switch {
		case !e.Contains(addr) || e.DHCP():
		case e.First == e.Last:
			return true
		case addr.Is4() && (last == 0 || last == 255):
		case addr.Is4() && e.CIDR && n.config.SkipEnds && e.First.Next() != e.Last && (addr == e.First || addr == e.Last):
		default:
			return true
		}
	}
	return false
}

func (n *naive) dhcp(pool string, f ipam.Family) bool {
	p, _ := n.config.Pool(pool)
	return slices.ContainsFunc(append(slices.Clone(p.CIDR), p.Range...), func(e ipam.Element) bool {
		return e.DHCP() && ipam.FamilyOf(e.First) == f
	})
}

func (n *naive) pools(namespace string) []string {
	own, isOwn := n.config.Pool(namespace)
	global, isGlobal := n.config.Pool(ipam.Global)
	var first []string
	if n.config.Precedence == ipam.Legacy {
		for _, key := range []struct {
			pool string
			list []ipam.Element
		}{{namespace, own.CIDR}, {ipam.Global, global.CIDR}, {namespace, own.Range}, {ipam.Global, global.Range}} {
			if key.list != nil && first == nil {
				first = []string{key.pool}
			}
		}
	} else if isOwn {
		first = []string{namespace}
	} else if isGlobal {
		first = []string{ipam.Global}
	}
	if n.config.SpillToGlobal && isGlobal && len(first) == 1 && first[0] != ipam.Global {
		first = append(first, ipam.Global)
	}
	return first
}

func (n *naive) inPool(namespace string, addr netip.Addr) bool {
	return slices.ContainsFunc(n.pools(namespace), func(pool string) bool {
		return n.has(pool, addr) || addr.IsUnspecified() && n.dhcp(pool, ipam.FamilyOf(addr))
	})
}

func (n *naive) isExcluded(addr netip.Addr) bool {
	return slices.ContainsFunc(n.excluded, func(e ipam.Exclusion) bool { return e.Prefix.Contains(addr) }) ||
		slices.ContainsFunc(n.config.Exclude, func(e ipam.Element) bool { return e.Contains(addr) })
}

// others returns those who have addr, but for s, in any order.
func (n *naive) others(addr netip.Addr, s *service) []*service {
	var out []*service
	for _, other := range n.services {
		if other != s && other.claim(addr) != nil && !addr.IsUnspecified() {
			out = append(out, other)
		}
	}
	return out
}

func meet(a, b []ipam.Port) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(p ipam.Port) bool { return slices.Contains(b, p) })
}

func (n *naive) rival(addr netip.Addr, s *service, ports []ipam.Port) bool {
	return slices.ContainsFunc(n.others(addr, s), func(o *service) bool { return !o.claim(addr).clash && meet(o.ports, ports) })
}

func (n *naive) shares(s *service, addr netip.Addr) bool {
	c := s.claim(addr)
	return c.given && !c.leaving && !c.clash && len(s.ports) > 0 && n.config.Shares(s.namespace)
}

// joinable reports whether s may use ports at addr beside those who are there.
func (n *naive) joinable(addr netip.Addr, s *service) bool {
	others := n.others(addr, s)
	for i, o := range others {
		if !n.config.Shares(s.namespace) || !n.shares(o, addr) || meet(o.ports, s.ports) {
			return false
		}
		for _, p := range others[:i] {
			if meet(o.ports, p.ports) {
				return false
			}
		}
	}
	return true
}

// free reports whether nobody at all has addr.
func (n *naive) free(addr netip.Addr) bool {
	return !n.isExcluded(addr) && len(n.others(addr, nil)) == 0
}

func (n *naive) held(namespace string) int {
	count := 0
	for _, addr := range universe() {
		if slices.ContainsFunc(n.others(addr, nil), func(o *service) bool { return o.namespace == namespace }) {
			count++
		}
	}
	return count
}

// alone reports whether the namespace would have addr through s only.
func (n *naive) alone(addr netip.Addr, s *service) bool {
	return !addr.IsUnspecified() && !slices.ContainsFunc(n.others(addr, s), func(o *service) bool { return o.namespace == s.namespace })
}

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
