// Package vip is the noun that the agent's rooms share: an address that this node should have, and the few operations on
// sets of them. It knows neither Kubernetes nor the kernel; text is parsed elsewhere.
//
// Sets are slices in the order of [Compare], without duplicates of [Address.Key]. Functions never change their arguments.
package vip

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Address is one address that this node should have: what, where, and for how long.
type Address struct {
	// Prefix is the address with the prefix length it has on the link and in announcements, such as 192.0.2.10/32.
	// The address part is never masked, never IPv4-mapped and has no zone.
	Prefix netip.Prefix
	// Link is the name of the network interface that holds it.
	Link string
	// Until is when the right to hold the address ends, on the local monotonic clock; zero means that it doesn't end.
	// Rooms check it next to the act: nothing is announced after it, and the kernel's valid_lft ends no later.
	Until time.Time
	// Route is what routing protocols say of the address; ARP and NDP ignore it.
	Route Route
}

// Key is what makes two addresses the same one: the address and its link. The prefix length is an attribute.
type Key struct {
	Addr netip.Addr
	Link string
}

// Key returns the identity of a within a set.
func (a Address) Key() Key { return Key{a.Prefix.Addr(), a.Link} }

// Live reports whether the right to hold a has not run out at now.
func (a Address) Live(now time.Time) bool { return a.Until.IsZero() || now.Before(a.Until) }

// String returns address, prefix length and link, as "192.0.2.10/32 on eth0".
func (a Address) String() string { return a.Prefix.String() + " on " + a.Link }

// Equal reports whether a and b are the same in every field; moments compare by [time.Time.Equal].
func (a Address) Equal(b Address) bool {
	return a.Prefix == b.Prefix && a.Link == b.Link && a.Until.Equal(b.Until) && a.Route.Equal(b.Route)
}

// Compare orders by link, then by address.
func Compare(a, b Address) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Addr().Compare(b.Prefix.Addr()))
}

// Union returns the set of every address in sets. Where several name the same [Key], the latest Until wins (no end is the
// latest), the longer prefix, and of the rest the first.
func Union(sets ...[]Address) []Address {
	all := slices.Concat(sets...)
	slices.SortStableFunc(all, Compare)
	out := all[:0]
	for _, a := range all {
		if n := len(out); n > 0 && out[n-1].Key() == a.Key() {
			out[n-1] = merge(out[n-1], a)
			continue
		}
		out = append(out, a)
	}
	return out
}

// IsSet reports whether list is a set already, as [Union] returns one.
func IsSet(list []Address) bool {
	for i := 1; i < len(list); i++ {
		if Compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

func merge(a, b Address) Address {
	if b.Prefix.Bits() > a.Prefix.Bits() {
		a.Prefix = b.Prefix
	}
	if !a.Until.IsZero() && (b.Until.IsZero() || b.Until.After(a.Until)) {
		a.Until = b.Until
	}
	return a
}

// Change is how one set becomes another.
type Change struct {
	Add    []Address // in the new set only
	Update []Address // in both, with other attributes; as in the new set
	Remove []Address // in the old set only
}

// Empty reports whether nothing changes.
func (c Change) Empty() bool { return len(c.Add)+len(c.Update)+len(c.Remove) == 0 }

// Diff returns what turns have into want. Neither needs to be in order; each part of the answer is.
func Diff(have, want []Address) Change {
	old := make(map[Key]Address, len(have))
	for _, a := range have {
		old[a.Key()] = a
	}
	var c Change
	for _, a := range Union(want) {
		before, ok := old[a.Key()]
		switch {
		case !ok:
			c.Add = append(c.Add, a)
		case !before.Equal(a):
			c.Update = append(c.Update, a)
		}
		delete(old, a.Key())
	}
	for _, a := range old {
		c.Remove = append(c.Remove, a)
	}
	slices.SortFunc(c.Remove, Compare)
	return c
}
