package ipam

import "slices"

// pieces is what one family of a pool has: sorted, disjoint intervals. Of an IPv4 interval, x.x.x.0 and x.x.x.255 are left out, and its
// ends are never left out; an interval of one address has that address, whichever it is. Intervals are apart, or an address
// that was written alone cuts them.
type pieces struct {
	family Family
	list   []span
}

// newPieces returns the extent of bulk, in any order and with overlaps, and of alone, the addresses written alone.
func newPieces(family Family, bulk []span, alone []uint128) pieces {
	p := pieces{family: family}
	var cuts []uint128
	for _, x := range alone {
		if p.leavesOut(x) {
			cuts = append(cuts, x)
		} else {
			bulk = append(bulk, span{x, x})
		}
	}
	slices.SortFunc(cuts, uint128.compare)
	cuts = slices.Compact(cuts)
	for _, s := range union(bulk) {
		first, _ := slices.BinarySearchFunc(cuts, s.lo, uint128.compare)
		for _, x := range cuts[first:] {
			if s.hi.less(x) {
				break
			}
			if s.lo.less(x) {
				p.add(span{s.lo, x.minus(1)})
			}
			s.lo = x.plus(1)
		}
		p.add(s)
	}
	for _, x := range cuts {
		p.list = append(p.list, span{x, x})
	}
	slices.SortFunc(p.list, func(a, b span) int { return a.lo.compare(b.lo) })
	return p
}

// add appends s without what is left out at its ends.
func (p *pieces) add(s span) {
	if p.leavesOut(s.lo) {
		s.lo = p.next(s.lo)
	}
	if s.hi.less(s.lo) {
		return
	}
	if p.leavesOut(s.hi) {
		s.hi = p.previous(s.hi)
	}
	p.list = append(p.list, s)
}

// union returns the same addresses as sorted spans that are apart.
func union(list []span) []span {
	slices.SortFunc(list, func(a, b span) int { return a.lo.compare(b.lo) })
	var out []span
	for _, s := range list {
		if n := len(out); n > 0 && (!out[n-1].hi.less(s.lo) || out[n-1].hi.plus(1) == s.lo) {
			if out[n-1].hi.less(s.hi) {
				out[n-1].hi = s.hi
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// search returns the index of the last span of the sorted list that begins at x or below, or -1.
func search(list []span, x uint128) int {
	lo, hi := 0, len(list)
	for lo < hi {
		if mid := (lo + hi) / 2; x.less(list[mid].lo) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo - 1
}

// covers reports whether one of the sorted list, of which none meet, has x.
func covers(list []span, x uint128) bool {
	i := search(list, x)
	return i >= 0 && !list[i].hi.less(x)
}

// leavesOut reports whether x is x.x.x.0 or x.x.x.255.
func (p *pieces) leavesOut(x uint128) bool {
	return p.family == IPv4 && (x.lo&0xff == 0 || x.lo&0xff == 0xff)
}

// next returns the neighbour of x in a piece that goes on above x.
func (p *pieces) next(x uint128) uint128 {
	for x = x.plus(1); p.leavesOut(x); x = x.plus(1) {
	}
	return x
}

// previous returns the neighbour of x in a piece that goes on below x.
func (p *pieces) previous(x uint128) uint128 {
	for x = x.minus(1); p.leavesOut(x); x = x.minus(1) {
	}
	return x
}

// at returns the piece that has x.
func (p *pieces) at(x uint128) (span, bool) {
	i := search(p.list, x)
	if i < 0 || p.list[i].hi.less(x) || p.leavesOut(x) && p.list[i].lo != p.list[i].hi {
		return span{}, false
	}
	return p.list[i], true
}

func (p *pieces) has(x uint128) bool {
	_, ok := p.at(x)
	return ok
}

// count returns how many addresses s has, which lies in one piece.
func (p *pieces) count(s span) Count {
	n := Count(s.hi).Sub(Count(s.lo)).Add(CountOf(1))
	if p.family == IPv4 {
		n = n.Sub(CountOf(2 * (s.hi.lo>>8 - s.lo.lo>>8))) // each step into the next block passes two that are left out
	}
	return n
}

// bits returns the addresses that block b has.
func (p *pieces) bits(b uint128) bits256 {
	var out bits256
	first, last := b.within(0), b.within(255)
	for i := max(search(p.list, first), 0); i < len(p.list) && !last.less(p.list[i].lo); i++ {
		s := p.list[i]
		if s.hi.less(first) {
			continue
		}
		set := bitsBetween(greatest(s.lo, first), least(s.hi, last))
		if p.family == IPv4 && s.lo != s.hi {
			set[0] &^= 1
			set[3] &^= 1 << 63
		}
		for word := range out {
			out[word] |= set[word]
		}
	}
	return out
}

// countBlocks returns how many addresses the blocks of s have.
func (p *pieces) countBlocks(s span) Count {
	first, last := s.lo.within(0), s.hi.within(255)
	var n Count
	for i := max(search(p.list, first), 0); i < len(p.list) && !last.less(p.list[i].lo); i++ {
		part := span{greatest(p.list[i].lo, first), least(p.list[i].hi, last)}
		if part.hi.less(part.lo) {
			continue
		}
		if part.lo != part.hi && p.leavesOut(part.lo) {
			part.lo = p.next(part.lo)
		}
		if part.lo != part.hi && p.leavesOut(part.hi) {
			part.hi = p.previous(part.hi)
		}
		n = n.Add(p.count(part))
	}
	return n
}
