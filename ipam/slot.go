package ipam

import (
	"net/netip"
	"slices"
)

// slot is an address in use.
type slot struct {
	block    *slotBlock
	holders  []*record
	ports    map[Port]int // how many holders use each; nil unless some Services may share
	private  int32        // holders that keep the address to themselves
	doubled  int32        // ports that more than one holder uses
	open     bool         // offered to sharers by its pools
	excluded bool
	room     [1]*record // for holders while there is one
}

// enter makes r, which must not be one, a holder of h's address, and h know the slot.
func (s *space) enter(r *record, h *hold, excluded bool) {
	x := number(h.addr)
	at := s.slots.at(x)
	switch {
	case at == nil:
		at = r.newSlot()
		at.excluded = excluded
		at.holders = at.room[:0]
		s.slots.put(x, at)
		s.each(x, func(p *pool) { p.free.remove(x); p.used++ })
	case len(at.holders) == 1:
		s.each(x, func(p *pool) { p.shared++ })
	}
	at.holders = append(at.holders, r)
	h.at = at
	s.claim(x, at, h)
	s.settle(x, at)
}

// leave ends enter; true if the address is free now.
func (s *space) leave(r *record, h *hold) bool {
	x, at := number(h.addr), h.at
	s.unclaim(x, at, h)
	at.holders = slices.Delete(at.holders, slices.Index(at.holders, r), slices.Index(at.holders, r)+1)
	s.settle(x, at)
	switch len(at.holders) {
	case 0:
		s.slots.delete(x, at)
		r.lent = r.lent && at != &r.slot
		s.each(x, func(p *pool) {
			p.used--
			if !at.excluded {
				p.free.add(x)
			}
		})
		return true
	case 1:
		s.each(x, func(p *pool) { p.shared-- })
	}
	return false
}

// restate changes what h, whose record is a holder, claims of its address.
func (s *space) restate(h *hold, ports []Port, shares bool) {
	x, at := number(h.addr), h.at
	before := *h
	h.ports, h.shares = ports, shares
	s.unclaim(x, at, &before)
	s.claim(x, at, h)
	s.settle(x, at)
}

func (s *space) claim(x uint128, at *slot, h *hold) {
	if !h.shares {
		at.private++
	}
	if !s.sharing {
		return
	}
	if at.ports == nil {
		at.ports = map[Port]int{}
	}
	for _, port := range h.ports {
		switch at.ports[port]++; {
		case at.ports[port] == 2:
			at.doubled++
		case at.ports[port] == 1 && at.open:
			s.each(x, func(p *pool) { p.occupy(x, port) })
		}
	}
}

func (s *space) unclaim(x uint128, at *slot, h *hold) {
	if !h.shares {
		at.private--
	}
	if !s.sharing {
		return
	}
	for _, port := range h.ports {
		switch at.ports[port]--; at.ports[port] {
		case 1:
			at.doubled--
		case 0:
			delete(at.ports, port)
			if at.open {
				s.each(x, func(p *pool) { p.vacate(x, port) })
			}
		}
	}
}

// settle offers the address to sharers, or no longer.
func (s *space) settle(x uint128, at *slot) {
	open := at.private == 0 && at.doubled == 0 && len(at.holders) > 0 && !at.excluded
	switch {
	case open && !at.open:
		s.each(x, func(p *pool) { p.offer(x, at.ports) })
	case !open && at.open:
		s.each(x, func(p *pool) { p.withdraw(x, at.ports) })
	}
	at.open = open
}

// rival returns a holder of addr other than r that can't be there together with a Service that uses ports, and the port in dispute. Those
// who came by changing their ports, and have to go, are no rivals.
func (s *space) rival(addr netip.Addr, r *record, ports []Port) (*record, Port) {
	at := s.slots.at(number(addr))
	if at == nil || len(at.holders) == 1 && at.holders[0] == r {
		return nil, Port{}
	}
	if !at.disputed(r.hold(addr), ports) {
		return nil, Port{}
	}
	for _, other := range at.holders {
		if other == r || other.hold(addr).clash {
			continue
		}
		if len(ports) == 0 || len(other.ports) == 0 {
			return other, Port{}
		}
		for _, port := range other.ports {
			if _, ok := slices.BinarySearchFunc(ports, port, comparePorts); ok {
				return other, port
			}
		}
	}
	return nil, Port{}
}

// disputed reports whether it takes a look at every holder to know who else uses one of ports; own is the asker's, or nil.
func (at *slot) disputed(own *hold, ports []Port) bool {
	if at.private > 0 || at.ports == nil || len(ports) == 0 {
		return true
	}
	for _, port := range ports {
		others := at.ports[port]
		if own != nil && slices.Contains(own.ports, port) {
			others--
		}
		if others > 0 {
			return true
		}
	}
	return false
}

// obstacle returns a holder of addr other than r that keeps a Service with ports from joining it, and the port in dispute if that
// is why. Without shares the Service joins nobody.
func (s *space) obstacle(addr netip.Addr, r *record, ports []Port, shares bool) (*record, Port) {
	if other, port := s.rival(addr, r, ports); other != nil {
		return other, port
	}
	at := s.slots.at(number(addr))
	if at == nil {
		return nil, Port{}
	}
	var found *record
	for _, other := range at.holders {
		private := !shares || at.doubled > 0 || !other.hold(addr).shares
		if other != r && private && (found == nil || other.owner < found.owner) {
			found = other
		}
	}
	return found, Port{}
}

// holds reports whether a Service of namespace, other than except, has addr.
func (s *space) holds(addr netip.Addr, namespace string, except *record) bool {
	at := s.slots.at(number(addr))
	return at != nil && slices.ContainsFunc(at.holders, func(r *record) bool { return r != except && r.namespace == namespace })
}
