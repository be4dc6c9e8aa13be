package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// gain is the room that was made since someone was told.
type gain struct {
	pools      map[string]bool
	addrs      map[netip.Addr]bool
	namespaces map[string]bool
	owners     map[string]bool
}

// gainLocked notes that there is more room at addr, and in the quota of namespace unless it is "".
func (a *Allocator) gainLocked(addr netip.Addr, namespace string) {
	if len(a.waiting) == 0 {
		return
	}
	a.openGainLocked()
	a.gained.addrs[addr] = true
	a.gained.namespaces[namespace] = true
	if _, excluded := a.excluded.find(addr); excluded {
		return
	}
	a.space(addr).each(number(addr), func(p *pool) { a.gained.pools[p.name] = true })
}

// gainOwnerLocked notes that r itself is no longer what it was when it was refused.
func (a *Allocator) gainOwnerLocked(r *record) {
	if r.wait != nil {
		a.openGainLocked()
		a.gained.owners[r.owner] = true
	}
}

func (a *Allocator) openGainLocked() {
	if a.gained.pools == nil {
		a.gained = gain{map[string]bool{}, map[netip.Addr]bool{}, map[string]bool{}, map[string]bool{}}
	}
}

// Wake returns the Services to try again because of what an [Allocator.Ensure] that was refused has made room for: its Service may have
// given up a port. Every other change returns them itself.
func (a *Allocator) Wake() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wakeLocked()
}

// wakeLocked returns those who wait for what was gained, and forgets what was gained.
func (a *Allocator) wakeLocked() []string {
	g := a.gained
	a.gained = gain{}
	if g.pools == nil {
		return nil
	}
	return a.waitersLocked(func(r *record) bool {
		return g.owners[r.owner] || r.wait.quota && g.namespaces[r.namespace] ||
			slices.ContainsFunc(r.wait.pools, func(name string) bool { return g.pools[name] }) ||
			slices.ContainsFunc(r.wait.addrs, func(addr netip.Addr) bool { return g.addrs[addr] })
	})
}

func (a *Allocator) everyoneLocked() []string {
	a.gained = gain{}
	return a.waitersLocked(func(*record) bool { return true })
}

// waitersLocked returns the owners of the waiting records that ok likes, in the order in which they came.
func (a *Allocator) waitersLocked(ok func(*record) bool) []string {
	var list []*record
	for _, r := range a.waiting {
		if ok(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *record) int { return cmp.Compare(a.wait.since, b.wait.since) })
	var out []string
	for _, r := range list {
		out = append(out, r.owner)
	}
	return out
}

// waitLocked lets r wait for what refusals name; none means that it is content.
func (a *Allocator) waitLocked(r *record, refusals Refusals, partial bool) {
	if len(refusals) == 0 {
		r.wait = nil
		delete(a.waiting, r.owner)
		return
	}
	w := &wait{partial: partial}
	if r.wait != nil {
		w.since = r.wait.since
	} else {
		a.clock++
		w.since = a.clock
	}
	for _, one := range refusals {
		switch one.Reason {
		case Exhausted:
			w.pools = append(w.pools, one.Pools...)
		case Taken:
			w.addrs = append(w.addrs, one.Addr)
		case OverQuota:
			w.quota = true
		}
	}
	r.wait = w
	a.waiting[r.owner] = r
}
