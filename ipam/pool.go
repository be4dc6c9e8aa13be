package ipam

// pool is one family of a pool of the configuration, with what is free in it and what can be shared.
type pool struct {
	name   string
	family Family
	dhcp   bool // every Service gets the unspecified address
	extent pieces
	free   free  // neither in use nor excluded
	used   int   // addresses in use
	shared int   // of these, the ones that several Services have
	open   addrs // in use by Services that would share
	busy   map[Port]*addrs
}

// newPool returns the family's part of what elements offer, all of it free.
func newPool(name string, family Family, elements []Element, skipEnds bool) *pool {
	p := &pool{name: name, family: family, busy: map[Port]*addrs{}}
	var bulk []span
	var alone []uint128
	for _, e := range elements {
		s := span{number(e.First), number(e.Last)}
		switch {
		case FamilyOf(e.First) != family:
		case e.DHCP():
			p.dhcp = true
		case s.lo == s.hi:
			alone = append(alone, s.lo)
		case e.CIDR && skipEnds && family == IPv4 && s.lo.plus(1) != s.hi:
			bulk = append(bulk, span{s.lo.plus(1), s.hi.minus(1)})
		default:
			bulk = append(bulk, s)
		}
	}
	p.extent = newPieces(family, bulk, alone)
	p.free, p.open = newFree(&p.extent), addrs{within: &p.extent}
	return p
}

// empty reports whether the pool can't give any address of its family, ever.
func (p *pool) empty() bool { return !p.dhcp && len(p.extent.list) == 0 }

func (p *pool) size() Count { return p.free.count.Add(CountOf(uint64(p.used))) }

// nextFree returns the address to give next.
func (p *pool) nextFree(order Order) (uint128, bool) {
	if order == Descending {
		return p.free.last()
	}
	return p.free.first()
}

// nextShared returns the first address in order that is in use by Services which would share it and use none of ports. It takes a step of
// O(log n) for each run of addresses on which one of ports is in use.
func (p *pool) nextShared(order Order, ports []Port) (uint128, bool) {
	if order == Descending {
		return p.highestShared(ports)
	}
	var from uint128
	for {
		s, ok := p.open.spans.has(from)
		if !ok {
			if s, ok = p.open.spans.above(from); !ok {
				return uint128{}, false
			}
			from = s.lo
		}
		run, blocked := p.blocked(from, ports)
		if !blocked && p.extent.has(from) {
			return from, true
		}
		from = run.hi.plus(1)
	}
}

func (p *pool) highestShared(ports []Port) (uint128, bool) {
	s, ok := p.open.spans.last()
	from := s.hi
	for ok {
		if from = least(from, s.hi); p.extent.has(from) {
			run, blocked := p.blocked(from, ports)
			if !blocked {
				return from, true
			}
			from = run.lo
		}
		from = from.minus(1)
		s, ok = p.open.spans.floor(from)
	}
	return uint128{}, false
}

// blocked returns a run of addresses around x on each of which one of ports is in use; else x alone, and false.
func (p *pool) blocked(x uint128, ports []Port) (span, bool) {
	for _, port := range ports {
		if busy := p.busy[port]; busy != nil {
			if run, ok := busy.spans.has(x); ok {
				return run, true
			}
		}
	}
	return span{x, x}, false
}

// offer makes x, which is in use, known as an address to share, with the ports that are in use on it.
func (p *pool) offer(x uint128, ports map[Port]int) {
	p.open.add(x)
	for port := range ports {
		p.occupy(x, port)
	}
}

// withdraw ends offer.
func (p *pool) withdraw(x uint128, ports map[Port]int) {
	p.open.remove(x)
	for port := range ports {
		p.vacate(x, port)
	}
}

func (p *pool) occupy(x uint128, port Port) {
	if p.busy[port] == nil {
		p.busy[port] = &addrs{within: &p.extent}
	}
	p.busy[port].add(x)
}

func (p *pool) vacate(x uint128, port Port) {
	p.busy[port].remove(x)
	if p.busy[port].count.IsZero() {
		delete(p.busy, port)
	}
}
