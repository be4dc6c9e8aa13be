package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// Replay records what Services have already, and opens the allocator. It refuses nothing: what doesn't fit is recorded all the same, and
// conflicts are returned, by address. It is called once, with every Service; a second call panics.
func (a *Allocator) Replay(all []Existing) []Conflict {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.replayed {
		panic("ipam: what is in use was replayed already")
	}
	a.replayed = true
	found := map[netip.Addr]Conflict{}
	for _, e := range all {
		for _, c := range a.observeLocked(e, true) {
			found[c.Addr] = c
		}
	}
	out := make([]Conflict, 0, len(found))
	for addr := range found {
		out = append(out, a.conflictLocked(addr))
	}
	slices.SortFunc(out, func(a, b Conflict) int { return a.Addr.Compare(b.Addr) })
	return out
}

// Observe records what the API server shows of one Service by now. It is needed for those that are not ours, and for ours
// when their status changes: an address is in use until it is neither granted nor shown.
func (a *Allocator) Observe(e Existing) (wake []string, conflicts []Conflict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	conflicts = a.observeLocked(e, false)
	return a.wakeLocked(), conflicts
}

// observeLocked records e; with replay, what e has counts as given.
func (a *Allocator) observeLocked(e Existing, replay bool) []Conflict {
	r := a.recordLocked(e.Owner, e.Namespace)
	if ports := a.portsLocked(e.Ports); !r.given() && !slices.Equal(ports, r.ports) {
		r.ports = ports
		a.gainOwnerLocked(r)
	}
	given, shown := usable(e.Addrs), usable(slices.Concat(e.Addrs, e.Shown))
	for _, addr := range shown {
		a.showLocked(r, addr)
		if h := r.hold(addr); replay && slices.Contains(given, addr) {
			h.given, h.requested = true, slices.Contains(usable(e.Requested), addr)
		}
	}
	for _, h := range slices.Clone(r.holds) {
		if slices.Contains(shown, h.addr) {
			continue
		}
		if r.hold(h.addr).shown = false; !h.given {
			a.leaveLocked(r, r.hold(h.addr))
		}
	}
	var conflicts []Conflict
	for i := range r.holds {
		a.restateLocked(r, &r.holds[i])
		if c := a.conflictLocked(r.holds[i].addr); r.holds[i].shown && (len(c.Owners) > 1 || c.By != "") {
			conflicts = append(conflicts, c)
		}
	}
	slices.SortFunc(conflicts, func(a, b Conflict) int { return a.Addr.Compare(b.Addr) })
	a.tidyLocked(r)
	return conflicts
}

func (a *Allocator) showLocked(r *record, addr netip.Addr) {
	if h := r.hold(addr); h != nil {
		h.shown = true
		return
	}
	h := hold{addr: addr, shown: true}
	a.enterLocked(r, &h)
	r.holds = append(r.holds, h)
	a.gainOwnerLocked(r)
}

// conflictLocked returns who is at addr beside whom. Services at one address whose ports differ are no conflict.
func (a *Allocator) conflictLocked(addr netip.Addr) Conflict {
	c := Conflict{Addr: addr}
	if addr.IsUnspecified() {
		return c
	}
	c.By, _ = a.excluded.find(addr)
	s := a.space(addr)
	at := s.slots.at(number(addr))
	for _, r := range at.holders {
		if other, _ := s.rival(addr, r, r.ports); other != nil || c.By != "" {
			c.Owners = append(c.Owners, r.owner)
		}
	}
	slices.SortFunc(c.Owners, cmp.Compare)
	return c
}

// usable returns the valid ones of addrs, unmapped, each once, in order.
func usable(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, addr := range addrs {
		if addr = addr.Unmap().WithZone(""); addr.IsValid() && !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out
}
