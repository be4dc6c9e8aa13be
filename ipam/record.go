package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// record is a Service: what it has, and what it waits for.
type record struct {
	owner, namespace string
	ports            []Port // sorted, each once; replaced, never changed
	holds            []hold
	wait             *wait // nil = it doesn't wait

	// Memory beside the rest, for the usual Service: it has one address, alone. A Service is one piece of memory then.
	room [1]hold // for holds while there is one
	slot slot    // of an address that it came to first
	lent bool    // slot is in use
}

// newSlot returns a slot for an address that r is the first to have.
func (r *record) newSlot() *slot {
	if r.lent {
		return &slot{}
	}
	r.slot, r.lent = slot{}, true
	return &r.slot
}

// hold is an address that a Service has; the address is in use as long as it is given or shown.
type hold struct {
	addr  netip.Addr
	at    *slot  // of addr; nil for DHCP, and until the space knows of it
	ports []Port // what it claims of the address, with shares: see space

	given bool // by Ensure, or before Replay
	shown bool // by the API server
	// Until Commit or Rollback: fresh was given by the last Ensure, leaving is given up by it.
	fresh, leaving bool
	requested      bool // by the user
	clash          bool // its ports have changed and are another's here: it has to go
	shares         bool
}

// wait is what a refused Service waits for.
type wait struct {
	since   uint64 // by the allocator's clock
	pools   []string
	addrs   []netip.Addr
	quota   bool
	partial bool // it has got one family and would like the other
}

func (r *record) hold(addr netip.Addr) *hold {
	for i := range r.holds {
		if r.holds[i].addr == addr {
			return &r.holds[i]
		}
	}
	return nil
}

func (r *record) drop(addr netip.Addr) {
	r.holds = slices.DeleteFunc(r.holds, func(h hold) bool { return h.addr == addr })
}

// given reports whether r has an address by right.
func (r *record) given() bool {
	return slices.ContainsFunc(r.holds, func(h hold) bool { return h.given })
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// sortPorts returns ports sorted, each once, in a slice of its own.
func sortPorts(ports []Port) []Port {
	out := slices.Clone(ports)
	slices.SortFunc(out, comparePorts)
	return slices.Compact(out)
}

// beyond returns the ports of a that b lacks; both are sorted.
func beyond(a, b []Port) []Port {
	var out []Port
	for _, port := range a {
		if _, ok := slices.BinarySearchFunc(b, port, comparePorts); !ok {
			out = append(out, port)
		}
	}
	return out
}
