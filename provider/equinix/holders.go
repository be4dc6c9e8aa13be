package equinix

import (
	"net/netip"
	"slices"
)

// holders says which Services have which addresses: what they were given, what they are being given, and what the API server shows of them. It has no lock of its own.
type holders struct {
	of map[string]holding      // by owner
	at map[netip.Addr][]string // owners of each address, sorted
}

// holding is what one owner has.
type holding struct {
	given []netip.Addr // by grants that are written, or may be
	next  []netip.Addr // by the grant that is being written
	shown []netip.Addr // in the API server
}

func (h holding) all() []netip.Addr { return slices.Concat(h.given, h.next, h.shown) }

func newHolders() *holders {
	return &holders{of: map[string]holding{}, at: map[netip.Addr][]string{}}
}

// set makes the owner's holding so, and reports whether an address thereby is nobody's.
func (h *holders) set(owner string, now holding) (freed bool) {
	before := h.of[owner].all()
	after := now.all()
	if len(after) == 0 {
		delete(h.of, owner)
	} else {
		h.of[owner] = now
	}
	for _, addr := range before {
		if slices.Contains(after, addr) {
			continue
		}
		if h.at[addr] = slices.DeleteFunc(h.at[addr], func(o string) bool { return o == owner }); len(h.at[addr]) == 0 {
			delete(h.at, addr)
			freed = true
		}
	}
	for _, addr := range after {
		if i, found := slices.BinarySearch(h.at[addr], owner); !found {
			h.at[addr] = slices.Insert(h.at[addr], i, owner)
		}
	}
	return freed
}

// has reports whether the owner has the address.
func (h *holders) has(owner string, addr netip.Addr) bool { return slices.Contains(h.at[addr], owner) }

// other returns another owner of the address, "" if there is none.
func (h *holders) other(owner string, addr netip.Addr) string {
	for _, o := range h.at[addr] {
		if o != owner {
			return o
		}
	}
	return ""
}
