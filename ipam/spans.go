package ipam

import "slices"

// span is an interval of addresses; both ends belong to it.
type span struct{ lo, hi uint128 }

// spans is an ordered set of disjoint spans, a B+ tree: looking up, putting and deleting one takes O(log n), and touches few cache lines.
// The zero spans is empty. It neither merges nor splits: that is the work of [addrs].
type spans struct {
	root *node
	n    int
}

// fanout is how many spans a leaf, or children an inner node, has at most.
const fanout = 64

// node is a leaf with spans, or an inner node with kids and, for each of them, a bound: low[i] is not above any lo under kids[i], and
// above every lo under kids[i-1]. No node but the root is empty, and of two neighbours under one parent at most one is less than a quarter
// full (unless the other has no room), which bounds the height.
type node struct {
	spans []span
	low   []uint128
	kids  []*node
}

func (n *node) size() int { return len(n.spans) + len(n.kids) }

// kid returns the index of the child that x belongs to.
func (n *node) kid(x uint128) int {
	lo, hi := 1, len(n.low)
	for lo < hi {
		if mid := (lo + hi) / 2; x.less(n.low[mid]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo - 1
}

func (n *node) first() span {
	for n.kids != nil {
		n = n.kids[0]
	}
	return n.spans[0]
}

func (n *node) last() span {
	for n.kids != nil {
		n = n.kids[len(n.kids)-1]
	}
	return n.spans[len(n.spans)-1]
}

// first returns the lowest span.
func (t *spans) first() (span, bool) {
	if t.n == 0 {
		return span{}, false
	}
	return t.root.first(), true
}

// last returns the highest span.
func (t *spans) last() (span, bool) {
	if t.n == 0 {
		return span{}, false
	}
	return t.root.last(), true
}

// floor returns the last span that begins at x or below.
func (t *spans) floor(x uint128) (span, bool) {
	if t.n == 0 {
		return span{}, false
	}
	n, left := t.root, (*node)(nil)
	for n.kids != nil {
		i := n.kid(x)
		if i > 0 {
			left = n.kids[i-1]
		}
		n = n.kids[i]
	}
	switch i := search(n.spans, x); {
	case i >= 0:
		return n.spans[i], true
	case left != nil:
		return left.last(), true
	}
	return span{}, false
}

// above returns the first span that begins above x.
func (t *spans) above(x uint128) (span, bool) {
	if t.n == 0 {
		return span{}, false
	}
	n, right := t.root, (*node)(nil)
	for n.kids != nil {
		i := n.kid(x)
		if i+1 < len(n.kids) {
			right = n.kids[i+1]
		}
		n = n.kids[i]
	}
	switch i := search(n.spans, x) + 1; {
	case i < len(n.spans):
		return n.spans[i], true
	case right != nil:
		return right.first(), true
	}
	return span{}, false
}

// has returns the span that contains x.
func (t *spans) has(x uint128) (span, bool) {
	s, ok := t.floor(x)
	if !ok || s.hi.less(x) {
		return span{}, false
	}
	return s, true
}

// replace puts s where the span that begins at lo is; the order of the spans must stay as it is.
func (t *spans) replace(lo uint128, s span) {
	n := t.root
	for n.kids != nil {
		i := n.kid(lo)
		if s.lo.less(n.low[i]) {
			n.low[i] = s.lo
		}
		if i+1 < len(n.low) && !s.lo.less(n.low[i+1]) { // the bound was of a span that is no more
			n.low[i+1] = n.kids[i+1].first().lo
		}
		n = n.kids[i]
	}
	n.spans[search(n.spans, lo)] = s
}

// put adds s, which must not meet any span there is.
func (t *spans) put(s span) {
	if t.root == nil {
		t.root = &node{}
	}
	t.n++
	if right := t.root.put(s); right != nil {
		left := t.root
		t.root = &node{low: []uint128{left.bound(), right.bound()}, kids: []*node{left, right}}
	}
}

func (n *node) bound() uint128 {
	if n.kids != nil {
		return n.low[0]
	}
	return n.spans[0].lo
}

// put returns the new right neighbour of n if n had to be split.
func (n *node) put(s span) *node {
	if n.kids == nil {
		n.spans = slices.Insert(n.spans, search(n.spans, s.lo)+1, s)
		if len(n.spans) <= fanout {
			return nil
		}
		cut := len(n.spans) / 2
		if n.spans[len(n.spans)-1] == s {
			cut = fanout * 3 / 4 // spans that come in ascending order leave full leaves behind
		}
		right := &node{spans: append(make([]span, 0, fanout+1), n.spans[cut:]...)}
		n.spans = n.spans[:cut]
		return right
	}
	i := n.kid(s.lo)
	if s.lo.less(n.low[i]) {
		n.low[i] = s.lo
	}
	split := n.kids[i].put(s)
	if split == nil {
		return nil
	}
	n.low = slices.Insert(n.low, i+1, split.bound())
	n.kids = slices.Insert(n.kids, i+1, split)
	if len(n.kids) <= fanout {
		return nil
	}
	cut := len(n.kids) / 2
	right := &node{low: slices.Clone(n.low[cut:]), kids: slices.Clone(n.kids[cut:])}
	clear(n.kids[cut:])
	n.low, n.kids = n.low[:cut], n.kids[:cut]
	return right
}

// delete removes the span that begins at lo, which must be there.
func (t *spans) delete(lo uint128) {
	t.n--
	t.root.delete(lo)
	for len(t.root.kids) == 1 {
		t.root = t.root.kids[0]
	}
}

func (n *node) delete(lo uint128) {
	if n.kids == nil {
		i := search(n.spans, lo)
		n.spans = slices.Delete(n.spans, i, i+1)
		return
	}
	i := n.kid(lo)
	n.kids[i].delete(lo)
	if n.kids[i].size() > fanout/4 {
		return
	}
	if i+1 < len(n.kids) && n.join(i) || i > 0 && n.join(i-1) {
		return
	}
	if n.kids[i].size() == 0 {
		n.remove(i)
	}
}

// join makes one of the children i and i+1 where they fit.
func (n *node) join(i int) bool {
	left, right := n.kids[i], n.kids[i+1]
	if left.size()+right.size() > fanout*3/4 {
		return false
	}
	if right.kids != nil {
		right.low[0] = n.low[i+1] // its own may be out of date: nobody asks for it
	}
	left.spans = append(left.spans, right.spans...)
	left.low = append(left.low, right.low...)
	left.kids = append(left.kids, right.kids...)
	n.remove(i + 1)
	return true
}

func (n *node) remove(i int) {
	n.low = slices.Delete(n.low, i, i+1)
	n.kids = slices.Delete(n.kids, i, i+1)
}
