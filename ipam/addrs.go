package ipam

// addrs is a set of addresses of a pool, kept as the fewest spans; each lies in one piece and stands for what the piece has between its ends.
type addrs struct {
	within *pieces
	spans  spans
	count  Count
}

// add puts x, an address of the pool, in the set; false if it is there.
func (a *addrs) add(x uint128) bool {
	p, _ := a.within.at(x)
	s := span{x, x}
	left, joinsLeft := a.spans.floor(x)
	if joinsLeft && !left.hi.less(x) {
		return false
	}
	joinsLeft = joinsLeft && !left.lo.less(p.lo) && a.within.next(left.hi) == x
	right, joinsRight := a.spans.above(x)
	joinsRight = joinsRight && !p.hi.less(right.hi) && a.within.next(x) == right.lo
	switch {
	case joinsLeft && joinsRight:
		a.spans.delete(right.lo)
		a.spans.replace(left.lo, span{left.lo, right.hi})
	case joinsLeft:
		a.spans.replace(left.lo, span{left.lo, x})
	case joinsRight:
		a.spans.replace(right.lo, span{x, right.hi})
	default:
		a.spans.put(s)
	}
	a.count = a.count.Add(CountOf(1))
	return true
}

// remove takes x, an address of the pool, out of the set; false if it isn't there.
func (a *addrs) remove(x uint128) bool {
	s, ok := a.spans.has(x)
	if ok {
		a.cut(s, span{x, x})
	}
	return ok
}

// cut takes r out of s, a span of the set that meets r.
func (a *addrs) cut(s, r span) {
	a.count = a.count.Sub(a.within.count(s))
	left, right := span{s.lo, s.lo}, span{s.hi, s.hi}
	isLeft, isRight := s.lo.less(r.lo), r.hi.less(s.hi)
	if isLeft {
		left.hi = a.within.previous(r.lo)
		a.count = a.count.Add(a.within.count(left))
	}
	if isRight {
		right.lo = a.within.next(r.hi)
		a.count = a.count.Add(a.within.count(right))
	}
	switch {
	case isLeft:
		a.spans.replace(s.lo, left)
		if isRight {
			a.spans.put(right)
		}
	case isRight:
		a.spans.replace(s.lo, right)
	default:
		a.spans.delete(s.lo)
	}
}
