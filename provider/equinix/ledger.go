package equinix

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// settled is how long what was bought counts although a listing lacks it, and what was given back doesn't although a listing has it: the API may need a
// moment to show what it did.
const settled = time.Minute

// ledger is what the project owns: what the API's last listing said, and what was bought and given back since. It has no lock of its own.
type ledger struct {
	cluster string // UID of its namespace kube-system
	control string // tag of the control plane's address, "" for none

	owned   map[string]entry      // by reservation ID
	byTag   map[string][]string   // IDs bought for a Service, by its tag, sorted
	byAddr  map[netip.Addr]string // ID of each reservation of one address
	blocks  []string              // IDs of larger reservations
	leaving map[string]time.Time  // what is being given back, and when that was done: the zero time while it isn't
}

// entry is a reservation, and when it was bought, if that was by us.
type entry struct {
	Reservation
	bought time.Time
}

func newLedger(cluster, control string) *ledger {
	return &ledger{
		cluster: cluster, control: control, owned: map[string]entry{}, byTag: map[string][]string{}, byAddr: map[netip.Addr]string{},
		leaving: map[string]time.Time{},
	}
}

// replace takes in a listing that was asked for at begun. What was bought since, or a moment before, stays; what was given back since doesn't come back.
func (l *ledger) replace(all []Reservation, begun time.Time) {
	fresh := map[string]entry{}
	for id, e := range l.owned {
		if !e.bought.IsZero() && begun.Sub(e.bought) < settled {
			fresh[id] = e
		}
	}
	for _, r := range all {
		bought := fresh[r.ID].bought
		fresh[r.ID] = entry{r, bought}
	}
	l.owned, l.blocks = map[string]entry{}, nil
	clear(l.byTag)
	clear(l.byAddr)
	for id, e := range fresh {
		if done, gone := l.leaving[id]; !gone || !done.IsZero() && begun.Sub(done) > settled {
			l.add(e)
		}
	}
	for id, done := range l.leaving {
		if !done.IsZero() && begun.Sub(done) > settled {
			delete(l.leaving, id)
		}
	}
}

func (l *ledger) add(e entry) {
	l.owned[e.ID] = e
	if e.Prefix.IsSingleIP() {
		l.byAddr[e.Prefix.Addr()] = e.ID
	} else {
		l.blocks = append(l.blocks, e.ID)
	}
	if tag := l.serviceTag(e.Reservation); tag != "" && !slices.Contains(l.byTag[tag], e.ID) {
		l.byTag[tag] = append(l.byTag[tag], e.ID)
		slices.Sort(l.byTag[tag])
	}
}

// leave takes a reservation out, so that nobody finds it while it is given back. It reports whether that falls to the caller.
func (l *ledger) leave(id string) (Reservation, bool) {
	e, ok := l.owned[id]
	if !ok {
		return Reservation{}, false
	}
	l.leaving[id] = time.Time{}
	l.remove(e.Reservation)
	return e.Reservation, true
}

// left ends what leave began: the reservation is given back, or it may still be there.
func (l *ledger) left(r Reservation, given bool, now time.Time) {
	if given {
		l.leaving[r.ID] = now
		return
	}
	delete(l.leaving, r.ID)
	l.add(entry{Reservation: r})
}

func (l *ledger) remove(r Reservation) {
	delete(l.owned, r.ID)
	if l.byAddr[r.Prefix.Addr()] == r.ID {
		delete(l.byAddr, r.Prefix.Addr())
	}
	l.blocks = slices.DeleteFunc(l.blocks, func(id string) bool { return id == r.ID })
	if tag := l.serviceTag(r); tag != "" {
		if l.byTag[tag] = slices.DeleteFunc(l.byTag[tag], func(id string) bool { return id == r.ID }); len(l.byTag[tag]) == 0 {
			delete(l.byTag, tag)
		}
	}
}

// of returns what was bought for the Service of a tag, sorted by ID.
func (l *ledger) of(tag string) []Reservation {
	var out []Reservation
	for _, id := range l.byTag[tag] {
		out = append(out, l.owned[id].Reservation)
	}
	return out
}

// bought returns all that was bought for Services of the cluster, sorted by ID.
func (l *ledger) bought() []Reservation {
	var out []Reservation
	for _, ids := range l.byTag {
		for _, id := range ids {
			out = append(out, l.owned[id].Reservation)
		}
	}
	slices.SortFunc(out, func(a, b Reservation) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// containing returns the reservation that an address lies in.
func (l *ledger) containing(addr netip.Addr) (Reservation, bool) {
	if id, ok := l.byAddr[addr]; ok {
		return l.owned[id].Reservation, true
	}
	for _, id := range l.blocks {
		if r := l.owned[id].Reservation; r.Prefix.Contains(addr) {
			return r, true
		}
	}
	return Reservation{}, false
}

// serviceTag returns the tag of the Service that a reservation was bought for, "" if it wasn't, or for another cluster, or is the control plane's.
func (l *ledger) serviceTag(r Reservation) string {
	if !ours(r, l.cluster) || l.isControl(r) || !r.Prefix.IsSingleIP() {
		return ""
	}
	return serviceTagOf(r)
}

// isControl reports whether the reservation is the control plane's address.
func (l *ledger) isControl(r Reservation) bool {
	return l.control != "" && slices.Contains(r.Tags, l.control)
}
