package ipam

import (
	"net/netip"
	"slices"
)

// Ensure reserves what the Service wishes: it keeps of what it has all that is still right, and reserves what is missing. What it has no
// right to any more stays reserved until Commit, which follows every grant, also one that changes nothing.
//
// The error is [ErrNotReplayed] or [Refusals]; then the Service has what it had, and waits: it is among those to wake when there is
// room. Asking again gives the same answer.
func (a *Allocator) Ensure(r Request) (Grant, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.replayed {
		return Grant{}, ErrNotReplayed
	}
	rec := a.recordLocked(r.Owner, r.Namespace)
	a.setPortsLocked(rec, r.Ports)
	p := plan{allocator: a, rec: rec, request: r}
	p.make()
	if len(p.refusals) > 0 {
		a.waitLocked(rec, p.refusals, false)
		return Grant{}, p.refusals
	}
	a.waitLocked(rec, p.missing, true)
	return a.applyLocked(rec, p), nil
}

// setPortsLocked records the ports of r, and the addresses that it can't stay at because of them.
func (a *Allocator) setPortsLocked(r *record, wish []Port) {
	ports := r.ports
	changed := !slices.Equal(wish, ports)
	if changed {
		ports = a.portsLocked(wish)
	}
	added := beyond(ports, r.ports)
	r.ports = ports
	for i := range r.holds {
		h := &r.holds[i]
		if h.addr.IsUnspecified() {
			continue
		}
		suspect := added
		if h.clash {
			suspect = ports
		}
		if h.given && (len(suspect) > 0 || changed && len(ports) == 0) {
			other, _ := a.space(h.addr).rival(h.addr, r, suspect)
			h.clash = other != nil
		}
		a.restateLocked(r, h)
	}
}

// applyLocked makes the plan true and describes what it gives.
func (a *Allocator) applyLocked(r *record, p plan) Grant {
	for i := range r.holds {
		h := &r.holds[i]
		if h.leaving = h.given && !p.takes(h.addr); h.leaving {
			a.restateLocked(r, h)
		}
	}
	g := Grant{Missing: p.missing}
	for _, t := range p.take {
		h := r.hold(t.addr)
		if h == nil {
			r.holds = append(r.holds, hold{addr: t.addr, given: true, fresh: true})
			h = &r.holds[len(r.holds)-1]
			a.enterLocked(r, h)
		}
		if !h.given {
			h.given, h.fresh = true, true
		}
		h.requested = t.requested
		a.restateLocked(r, h)
		g.Addrs = append(g.Addrs, a.assignedLocked(r, h))
	}
	for _, h := range r.holds {
		if h.leaving {
			g.Dropped = append(g.Dropped, h.addr)
		}
	}
	slices.SortFunc(g.Dropped, netip.Addr.Compare)
	return g
}

func (a *Allocator) assignedLocked(r *record, h *hold) Assigned {
	out := Assigned{Addr: h.addr, New: h.fresh, Requested: h.requested}
	if p := a.poolLocked(r, h.addr); p != nil {
		out.Pool, out.Used, out.Size = p.name, CountOf(uint64(p.used)), p.size()
	}
	out.Shared = h.at != nil && len(h.at.holders) > 1
	return out
}

// Commit tells that the last grant is written: what it dropped is free. It returns the Services to try again.
func (a *Allocator) Commit(owner string) (wake []string) {
	return a.finish(owner, func(h *hold) {
		h.given = h.given && !h.leaving
	})
}

// Rollback tells that the last grant could not be written: the Service has what it had before. It returns the Services to try again.
// Where it is unknown whether the write happened, call neither and Ensure again.
func (a *Allocator) Rollback(owner string) (wake []string) {
	return a.finish(owner, func(h *hold) {
		h.given = h.given && !h.fresh
	})
}

// finish lets decide say of each address of owner whether it is still given, and ends what was pending.
func (a *Allocator) finish(owner string, decide func(*hold)) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.records[owner]; r != nil {
		for i := len(r.holds) - 1; i >= 0; i-- {
			h := &r.holds[i]
			decide(h)
			h.fresh, h.leaving = false, false
			if h.clash = h.clash && h.given; !h.given && !h.shown {
				a.leaveLocked(r, h)
				continue
			}
			a.restateLocked(r, h)
		}
		a.tidyLocked(r)
	}
	return a.wakeLocked()
}

// Release tells that the Service is gone, or no load balancer of ours any more: all it had is free, at once. It returns the Services to
// try again.
func (a *Allocator) Release(owner string) (wake []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.records[owner]; r != nil {
		delete(a.waiting, owner)
		for len(r.holds) > 0 {
			a.leaveLocked(r, &r.holds[len(r.holds)-1])
		}
		a.forgetLocked(r)
	}
	return a.wakeLocked()
}
