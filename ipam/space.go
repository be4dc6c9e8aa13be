package ipam

import "slices"

// space is one family: its pools and who has which address, in a pool or not.
type space struct {
	family   Family
	pools    map[string]*pool
	segments []segment
	slots    slots
	sharing  bool // some Services may share
}

// segment is an interval with the pools that have some of it; between two of its addresses they are the same pools, but for
// x.x.x.0 and x.x.x.255.
type segment struct {
	span
	pools []*pool
}

// newSpace returns the family's part of c, with nothing in use.
func newSpace(family Family, c Config, excluded exclusions) *space {
	s := &space{family: family, pools: map[string]*pool{}, slots: slots{}}
	for _, share := range c.Share {
		s.sharing = s.sharing || share
	}
	for _, from := range c.Pools {
		p := newPool(from.Name, family, from.Elements(c.Precedence), c.SkipEnds)
		s.pools[p.name] = p
	}
	s.segments = segmentsOf(s.pools)
	for prefix := range excluded.what {
		if FamilyOf(prefix.Addr()) == family {
			for _, p := range s.meeting(spanOf(prefix)) {
				p.free.removeAll(spanOf(prefix))
			}
		}
	}
	return s
}

// segmentsOf cuts the address space where the pools of an address change.
func segmentsOf(pools map[string]*pool) []segment {
	type edge struct {
		at    uint128
		pool  *pool
		opens bool
	}
	var edges []edge
	for _, p := range pools {
		for _, s := range p.extent.list {
			edges = append(edges, edge{s.lo, p, true}, edge{s.hi.plus(1), p, false})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.at.compare(b.at) })
	var out []segment
	depth := map[*pool]int{}
	var at uint128
	for _, e := range edges {
		if at.less(e.at) && len(depth) > 0 {
			here := segment{span: span{at, e.at.minus(1)}}
			for p := range depth {
				here.pools = append(here.pools, p)
			}
			out = append(out, here)
		}
		at = e.at
		if e.opens {
			depth[e.pool]++
		} else if depth[e.pool]--; depth[e.pool] == 0 {
			delete(depth, e.pool)
		}
	}
	return out
}

// meeting returns the pools that might have addresses of r.
func (s *space) meeting(r span) []*pool {
	i, found := slices.BinarySearchFunc(s.segments, r.lo, func(g segment, x uint128) int { return g.lo.compare(x) })
	if !found && i > 0 && !s.segments[i-1].hi.less(r.lo) {
		i--
	}
	var out []*pool
	for ; i < len(s.segments) && !r.hi.less(s.segments[i].lo); i++ {
		for _, p := range s.segments[i].pools {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// each calls f for the pools that have x.
func (s *space) each(x uint128, f func(*pool)) {
	i, found := slices.BinarySearchFunc(s.segments, x, func(g segment, x uint128) int { return g.lo.compare(x) })
	if !found {
		i--
	}
	if i < 0 || s.segments[i].hi.less(x) {
		return
	}
	for _, p := range s.segments[i].pools {
		if p.extent.has(x) {
			f(p)
		}
	}
}
