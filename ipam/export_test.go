package ipam

// Spans gives the tests the ordered set of intervals, with numbers for addresses.
type Spans struct{ set spans }

// Put, Replace and Delete change the set.
func (s *Spans) Put(lo, hi uint64) { s.set.put(span{uint128{lo: lo}, uint128{lo: hi}}) }

// Replace puts lo to hi in the place of the span that begins at old.
func (s *Spans) Replace(old, lo, hi uint64) {
	s.set.replace(uint128{lo: old}, span{uint128{lo: lo}, uint128{lo: hi}})
}

// Delete removes the span that begins at lo.
func (s *Spans) Delete(lo uint64) { s.set.delete(uint128{lo: lo}) }

// Floor is the last span that begins at x or below.
func (s *Spans) Floor(x uint64) ([2]uint64, bool) { return plain(s.set.floor(uint128{lo: x})) }

// Above is the first span that begins above x.
func (s *Spans) Above(x uint64) ([2]uint64, bool) { return plain(s.set.above(uint128{lo: x})) }

// First and Last are the ends of the set.
func (s *Spans) First() ([2]uint64, bool) { return plain(s.set.first()) }

// Last is the highest span.
func (s *Spans) Last() ([2]uint64, bool) { return plain(s.set.last()) }

// All lists the spans in order.
func (s *Spans) All() [][2]uint64 {
	var out [][2]uint64
	if s.set.n > 0 {
		walk(s.set.root, func(at span) { out = append(out, [2]uint64{at.lo.lo, at.hi.lo}) })
	}
	return out
}

// Height is how many nodes lie between the root and a span, both counted; Nodes is how many there are.
func (s *Spans) Height() (height, nodes int) {
	for n := s.set.root; n != nil; n = n.kids[0] {
		height++
		if n.kids == nil {
			break
		}
	}
	return height, count(s.set.root)
}

func count(n *node) int {
	if n == nil {
		return 0
	}
	total := 1
	for _, kid := range n.kids {
		total += count(kid)
	}
	return total
}

func walk(n *node, f func(span)) {
	for _, s := range n.spans {
		f(s)
	}
	for _, kid := range n.kids {
		walk(kid, f)
	}
}

func plain(s span, ok bool) ([2]uint64, bool) { return [2]uint64{s.lo.lo, s.hi.lo}, ok }

// Free gives the tests the set of free addresses, with numbers for addresses.
type Free struct {
	extent pieces
	set    free
}

// NewFree returns the full set of what spans, and addresses written alone, have.
func NewFree(family Family, bulk [][2]uint64, alone []uint64) *Free {
	var spans []span
	for _, s := range bulk {
		spans = append(spans, span{uint128{lo: s[0]}, uint128{lo: s[1]}})
	}
	var singles []uint128
	for _, x := range alone {
		singles = append(singles, uint128{lo: x})
	}
	f := &Free{extent: newPieces(family, spans, singles)}
	f.set = newFree(&f.extent)
	return f
}

// Within reports whether the pool has x.
func (f *Free) Within(x uint64) bool { return f.extent.has(uint128{lo: x}) }

// Add and Remove change the set by an address of the pool.
func (f *Free) Add(x uint64) { f.set.add(uint128{lo: x}) }

// Remove takes x out.
func (f *Free) Remove(x uint64) { f.set.remove(uint128{lo: x}) }

// RemoveAll takes lo to hi out.
func (f *Free) RemoveAll(lo, hi uint64) { f.set.removeAll(span{uint128{lo: lo}, uint128{lo: hi}}) }

// Ends returns the lowest and the highest address, and how many there are.
func (f *Free) Ends() (lo, hi uint64, n string) {
	first, _ := f.set.first()
	last, _ := f.set.last()
	return first.lo, last.lo, f.set.count.String()
}

// Parts returns how many blocks are neither whole nor empty.
func (f *Free) Parts() int { return len(f.set.bits) }
