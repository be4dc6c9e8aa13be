package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// Stats is the use of one family of one pool. Excluded addresses don't count unless they are in use: Used and Free make Size.
type Stats struct {
	Pool   string
	Family Family
	Size   Count
	Used   Count
	Free   Count
	// Shared is the part of Used that more than one Service has.
	Shared int
	// DHCP tells that the pool gives 0.0.0.0 or :: to any number of Services.
	DHCP bool
}

// Stats returns the use of each family that a pool has, by name, then family.
func (a *Allocator) Stats() []Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Stats
	for _, s := range []*space{a.v4, a.v6} {
		for _, p := range s.pools {
			if !p.empty() {
				out = append(out, Stats{p.name, p.family, p.size(), CountOf(uint64(p.used)), p.free.count, p.shared, p.dhcp})
			}
		}
	}
	slices.SortFunc(out, func(a, b Stats) int { return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Family, b.Family)) })
	return out
}

// Waiting returns the Services that were refused and not yet served, in the order in which they came.
func (a *Allocator) Waiting() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waitersLocked(func(r *record) bool { return !r.wait.partial })
}

// Holdings returns every address in use, sorted by address, then owner.
func (a *Allocator) Holdings() []Holding {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.holdingsLocked()
}

// Holds returns the addresses that owner has, given or shown, sorted.
func (a *Allocator) Holds(owner string) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.records[owner]
	if r == nil {
		return nil
	}
	var out []netip.Addr
	for _, h := range r.holds {
		out = append(out, h.addr)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
