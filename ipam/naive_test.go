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
