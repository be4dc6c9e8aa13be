package ipam

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// Exclusion is a prefix of which no address is given, and whose it is: "node worker-1", "Service CIDR", "control-plane VIP".
type Exclusion struct {
	Prefix netip.Prefix
	What   string
}

// exclusions answers whether an address is excluded, and by what.
type exclusions struct {
	what    map[netip.Prefix]string
	lengths map[Family][]int  // longest first
	covered map[Family][]span // sorted and apart
}

// newExclusions drops prefixes that aren't valid. Of several words for one prefix the first stays.
func newExclusions(lists ...[]Exclusion) exclusions {
	x := exclusions{what: map[netip.Prefix]string{}, lengths: map[Family][]int{}, covered: map[Family][]span{}}
	for _, e := range slices.Concat(lists...) {
		prefix := e.Prefix.Masked()
		if _, ok := x.what[prefix]; ok || !prefix.IsValid() {
			continue
		}
		x.what[prefix] = e.What
		family := FamilyOf(prefix.Addr())
		x.covered[family] = append(x.covered[family], spanOf(prefix))
		if !slices.Contains(x.lengths[family], prefix.Bits()) {
			x.lengths[family] = append(x.lengths[family], prefix.Bits())
		}
	}
	for _, lengths := range x.lengths {
		slices.SortFunc(lengths, func(a, b int) int { return b - a })
	}
	for family, list := range x.covered {
		x.covered[family] = union(list)
	}
	return x
}

// find returns what the longest prefix with addr belongs to.
func (x exclusions) find(addr netip.Addr) (string, bool) {
	if !covers(x.covered[FamilyOf(addr)], number(addr)) {
		return "", false
	}
	for _, bits := range x.lengths[FamilyOf(addr)] {
		prefix, _ := addr.Prefix(bits)
		if what, ok := x.what[prefix]; ok {
			return what, true
		}
	}
	return "", false
}

// without returns the prefixes of x that y lacks.
func (x exclusions) without(y exclusions) []netip.Prefix {
	var out []netip.Prefix
	for prefix := range x.what {
		if _, ok := y.what[prefix]; !ok {
			out = append(out, prefix)
		}
	}
	return out
}

// excludeKey returns what the key exclude lists.
func (c Config) excludeKey() []Exclusion {
	var out []Exclusion
	for _, e := range c.Exclude {
		for _, prefix := range e.Prefixes() {
			out = append(out, Exclusion{prefix, "key " + keyExclude})
		}
	}
	return out
}

func spanOf(prefix netip.Prefix) span {
	r := netipx.RangeOfPrefix(prefix)
	return span{number(r.From()), number(r.To())}
}
