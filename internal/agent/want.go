package agent

import (
	"slices"

	"daymark/internal/vip"
)

// Want is an address that a source wants on this node.
type Want struct {
	vip.Address
	// Quiet addresses are on the link but not announced: a right that was passed on, or that is preserved after its loss.
	Quiet bool
	// Passing addresses are quiet because a successor is taking over; [HolderConfig.Passed] tells when it was heard.
	Passing bool
	// Kept addresses are quiet because the right to them was lost, and are preserved all the same: for as long as the agent
	// lives, and until another host is heard to announce or to probe for them, which [HolderConfig.Passed] tells. Until is the
	// holder's to set.
	Kept bool
	// Detached addresses are announced without being on a link, as routes to Services can be.
	Detached bool
	// Sure addresses are not probed for before first use: their former holder, dead or handing over, may still answer.
	Sure bool
	// Contended addresses are probed for, but what other agents answer doesn't count: one may have it for a moment.
	Contended bool
}

func compareWants(a, b Want) int { return vip.Compare(a.Address, b.Address) }

func (w Want) equal(o Want) bool {
	return w.Quiet == o.Quiet && w.Passing == o.Passing && w.Kept == o.Kept && w.Detached == o.Detached && w.Sure == o.Sure && w.Contended == o.Contended &&
		w.Address.Equal(o.Address)
}

// mergeWants returns what satisfies both: announced if either is, and for no longer than that one may; else the longer right.
func mergeWants(a, b Want) Want {
	address := strongest(a.Address, b.Address)
	switch {
	case b.Quiet && !a.Quiet:
		address.Until = a.Until
	case a.Quiet && !b.Quiet:
		address.Until = b.Until
	}
	address.Route.Leaving = a.Route.Leaving && b.Route.Leaving
	quiet := a.Quiet && b.Quiet
	return Want{
		Address: address, Quiet: quiet, Passing: quiet && (a.Passing || b.Passing),
		Kept: a.Kept && b.Kept, Detached: a.Detached && b.Detached, Sure: a.Sure || b.Sure,
		Contended: a.Contended || b.Contended,
	}
}

// strongest returns b with the longer right and prefix of the two.
func strongest(a, b vip.Address) vip.Address {
	if a.Prefix.Bits() > b.Prefix.Bits() {
		b.Prefix = a.Prefix
	}
	if !b.Until.IsZero() && (a.Until.IsZero() || a.Until.After(b.Until)) {
		b.Until = a.Until
	}
	return b
}

// joinWants returns the union of two sorted lists, sorted.
func joinWants(a, b []Want) []Want {
	out := make([]Want, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compareWants(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, mergeWants(a[0], b[0])), a[1:], b[1:]
		}
	}
	return dedupe(append(append(out, a...), b...))
}

// dedupe joins neighbours that are the same address, as where one source wants it twice.
func dedupe(sorted []Want) []Want {
	out := sorted[:0]
	for _, w := range sorted {
		if n := len(out); n > 0 && out[n-1].Key() == w.Key() {
			out[n-1] = mergeWants(out[n-1], w)
			continue
		}
		out = append(out, w)
	}
	return out
}

// without returns what of set is not out: set itself where nothing is.
func without(set []vip.Address, out func(vip.Address) bool) []vip.Address {
	if !slices.ContainsFunc(set, out) {
		return set
	}
	return slices.DeleteFunc(slices.Clone(set), out)
}

// joinAddresses returns the union of two sorted sets, sorted, and whether want has more than have, and less.
func joinAddresses(have, want []vip.Address) (both []vip.Address, more, less bool) {
	both = make([]vip.Address, 0, max(len(have), len(want)))
	for len(have) > 0 && len(want) > 0 {
		switch c := vip.Compare(have[0], want[0]); {
		case c < 0:
			both, have, less = append(both, have[0]), have[1:], true
		case c > 0:
			both, want, more = append(both, want[0]), want[1:], true
		default:
			both, have, want = append(both, strongest(have[0], want[0])), have[1:], want[1:]
		}
	}
	return append(append(both, have...), want...), more || len(want) > 0, less || len(have) > 0
}
