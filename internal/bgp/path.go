package bgp

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"daymark/internal/vip"
)

// gracefulShutdown is the community GRACEFUL_SHUTDOWN (RFC 8326).
const gracefulShutdown = 0xffff0000

// path is what is announced of a prefix.
type path struct {
	route vip.Route
	until time.Time // zero for no end
}

func (p path) live(now time.Time) bool { return p.until.IsZero() || now.Before(p.until) }

// paths returns one path for each prefix in want. Where several addresses have the same prefix, the latest end counts, and the first
// address' route; it is leaving when all of them are.
func paths(c *Config, want []vip.Address) map[netip.Prefix]path {
	out := make(map[netip.Prefix]path, len(want))
	for _, a := range vip.Union(want) {
		prefix := a.Prefix.Masked()
		p, ok := out[prefix]
		switch {
		case !ok:
			p = path{route: a.Route, until: a.Until}
		case !p.until.IsZero() && (a.Until.IsZero() || a.Until.After(p.until)):
			p.until = a.Until
		}
		p.route.Leaving = p.route.Leaving && a.Route.Leaving
		out[prefix] = p
	}
	for prefix, p := range out {
		p.route = c.route(p.route)
		out[prefix] = p
	}
	return out
}

// route adds what the configuration says of every address, and what makes routers use others first where one is leaving: GRACEFUL_SHUTDOWN, and
// the lowest preference for internal peers, which needs no help of theirs.
func (c *Config) route(r vip.Route) vip.Route {
	r.Communities = slices.Concat(r.Communities, c.Communities)
	if r.Leaving {
		r.Communities = append(r.Communities, gracefulShutdown)
		r.LocalPref = new(uint32)
	}
	slices.Sort(r.Communities)
	r.Communities = slices.Compact(r.Communities)
	r.LargeCommunities = slices.Concat(r.LargeCommunities, c.LargeCommunities)
	slices.SortFunc(r.LargeCommunities, func(a, b [3]uint32) int { return slices.Compare(a[:], b[:]) })
	r.LargeCommunities = slices.Compact(r.LargeCommunities)
	if r.LocalPref == nil {
		r.LocalPref = c.LocalPref
	}
	if r.MED == nil {
		r.MED = c.MED
	}
	return r
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

func sortedPrefixes[V any](m map[netip.Prefix]V) []netip.Prefix {
	return slices.SortedFunc(maps.Keys(m), comparePrefix)
}
