package ipam

import "math/bits"

// free is the set of a pool's addresses that are neither in use nor excluded, by blocks of 256: whole ones, of which it has all that the
// pool has, as intervals, so that a pool of any size costs nothing; of each other block a bit for every address, so that a million addresses
// in use, however scattered, take less than a processor's cache.
type free struct {
	within      *pieces
	whole, part addrs                // numbers of blocks
	bits        map[uint128]*bits256 // of the blocks in part, and of some of which the set has nothing
	count       Count
}

// newFree returns the set of all addresses of within.
func newFree(within *pieces) free {
	numbers := &pieces{family: IPv6, list: []span{{hi: uint128{^uint64(0), ^uint64(0)}}}} // of which none is left out
	f := free{within: within, whole: addrs{within: numbers}, part: addrs{within: numbers}, bits: map[uint128]*bits256{}}
	var touched []span
	for _, s := range within.list {
		touched = append(touched, span{s.lo.block(), s.hi.block()})
		f.count = f.count.Add(within.count(s))
	}
	for _, s := range union(touched) {
		f.whole.spans.put(s)
	}
	return f
}

// first and last return the ends of the set.
func (f *free) first() (uint128, bool) {
	s, ok := f.whole.spans.first()
	t, other := f.part.spans.first()
	switch {
	case other && (!ok || t.lo.less(s.lo)):
		return f.bits[t.lo].first(t.lo), true
	case ok:
		set := f.within.bits(s.lo)
		return set.first(s.lo), true
	}
	return uint128{}, false
}

func (f *free) last() (uint128, bool) {
	s, ok := f.whole.spans.last()
	t, other := f.part.spans.last()
	switch {
	case other && (!ok || s.hi.less(t.hi)):
		return f.bits[t.hi].last(t.hi), true
	case ok:
		set := f.within.bits(s.hi)
		return set.last(s.hi), true
	}
	return uint128{}, false
}

// add puts x, an address of the pool, in the set.
func (f *free) add(x uint128) {
	b := x.block()
	set := f.bits[b]
	if set == nil {
		if _, all := f.whole.spans.has(b); all {
			return
		}
		set = &bits256{}
		f.bits[b] = set
	}
	if set.has(x) {
		return
	}
	if *set == (bits256{}) {
		f.part.add(b)
	}
	set.flip(x)
	f.count = f.count.Add(CountOf(1))
	if *set == f.within.bits(b) {
		f.part.remove(b)
		delete(f.bits, b)
		f.whole.add(b)
	}
}

// remove takes x, an address of the pool, out of the set.
func (f *free) remove(x uint128) {
	b := x.block()
	set := f.bits[b]
	if set == nil {
		if !f.whole.remove(b) {
			return
		}
		all := f.within.bits(b)
		set = &all
		f.bits[b] = set
		f.part.add(b)
	}
	if !set.has(x) {
		return
	}
	set.flip(x)
	f.count = f.count.Sub(CountOf(1))
	if *set == (bits256{}) {
		f.part.remove(b)
	}
}

// removeAll takes every address of r out of the set, in a step for each interval and each block in part.
func (f *free) removeAll(r span) {
	first, last := r.lo.block(), r.hi.block()
	for _, b := range []uint128{first, last} {
		inside := f.within.bits(b)
		for x := range inside.each(b) {
			if !x.less(r.lo) && !r.hi.less(x) {
				f.remove(x)
			}
		}
	}
	if last.less(first.plus(2)) {
		return
	}
	inner := span{first.plus(1), last.minus(1)}
	for {
		s, ok := f.whole.spans.has(inner.lo)
		if !ok {
			s, ok = f.whole.spans.above(inner.lo)
		}
		if !ok || inner.hi.less(s.lo) {
			break
		}
		gone := span{greatest(s.lo, inner.lo), least(s.hi, inner.hi)}
		f.count = f.count.Sub(f.within.countBlocks(gone))
		f.whole.cut(s, gone)
	}
	for b, set := range f.bits {
		if !b.less(inner.lo) && !inner.hi.less(b) {
			f.count = f.count.Sub(CountOf(uint64(set.count())))
			f.part.remove(b)
			delete(f.bits, b)
		}
	}
}

// bits256 is a set of the addresses of one block.
type bits256 [4]uint64

func (s *bits256) has(x uint128) bool { return s[x.lo>>6&3]&(1<<(x.lo&63)) != 0 }

// flip puts x in, or takes it out.
func (s *bits256) flip(x uint128) { s[x.lo>>6&3] ^= 1 << (x.lo & 63) }

// bitsBetween returns the set of x to y, which are in one block.
func bitsBetween(x, y uint128) bits256 {
	var s bits256
	first, last := x.lo&255, y.lo&255
	for word := first >> 6; word <= last>>6; word++ {
		s[word] = ^uint64(0)
	}
	s[first>>6] &= ^uint64(0) << (first & 63)
	s[last>>6] &= ^uint64(0) >> (63 - last&63)
	return s
}

// first and last return the ends of the set, which is not empty, in block b.
func (s *bits256) first(b uint128) uint128 {
	for i, word := range s {
		if word != 0 {
			return b.within(uint64(i*64 + bits.TrailingZeros64(word)))
		}
	}
	panic("ipam: an empty block is no block")
}

func (s *bits256) last(b uint128) uint128 {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] != 0 {
			return b.within(uint64(i*64 + 63 - bits.LeadingZeros64(s[i])))
		}
	}
	panic("ipam: an empty block is no block")
}

func (s *bits256) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// each yields the addresses of the set in block b, in order.
func (s *bits256) each(b uint128) func(yield func(uint128) bool) {
	return func(yield func(uint128) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(b.within(uint64(i*64 + bits.TrailingZeros64(word)))) {
					return
				}
			}
		}
	}
}
