package ipam

import (
	"fmt"
	"net/netip"

	"daymark/internal/vip"
)

// Policy is a Service's ipFamilyPolicy.
type Policy int

const (
	// SingleStack takes one address: of Families[0], or where no family is named IPv4 if the pools have any, else IPv6.
	SingleStack Policy = iota
	// PreferDualStack takes one of each family and tolerates that one can't be had.
	PreferDualStack
	// RequireDualStack takes one of each family or none.
	RequireDualStack
)

// Family is an IP family; its number is the protocol's version.
type Family uint8

// The IP families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6", as the API spells ipFamilies.
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// FamilyOf returns the family of addr, which must be valid and unmapped.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// Port is what two Services on one address must not both use.
type Port struct {
	Protocol vip.Protocol
	Port     uint16
}

// String returns "80/TCP".
func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Port, p.Protocol) }

// Request is what a Service wishes.
type Request struct {
	Owner     string // "namespace/name"
	Namespace string
	Policy    Policy
	// Families is spec.ipFamilies: the first is the primary one; empty means unset.
	Families []Family
	// Ports are the Service's own. A Service without ports takes an address for itself.
	Ports []Port
	// Requested are the addresses that the user asked for; unmapped, without a zone. 0.0.0.0 and :: ask for DHCP, which no pool limits.
	// They stand for their families; what Policy wants beyond them comes from the pools.
	Requested []netip.Addr
}

// Existing is what the API server shows of a Service of type LoadBalancer, of any class.
type Existing struct {
	Owner     string // "namespace/name"
	Namespace string
	Ports     []Port
	// Addrs are the addresses that it was given or asked for: the annotation, and spec.loadBalancerIP.
	Addrs []netip.Addr
	// Requested are those of Addrs that the user asked for, as far as that is known.
	Requested []netip.Addr
	// Shown are further addresses in use: status.loadBalancer.
	Shown []netip.Addr
}

// Grant is the answer to a [Request].
type Grant struct {
	// Addrs are all the addresses the Service now has, the primary family first.
	Addrs []Assigned
	// Dropped are the addresses that it had and loses by [Allocator.Commit].
	Dropped []netip.Addr
	// Missing tells why a PreferDualStack Service has one family only.
	Missing Refusals
}

// Changed reports whether the grant differs from what the Service had: whether there is something to write.
func (g Grant) Changed() bool {
	for _, a := range g.Addrs {
		if a.New {
			return true
		}
	}
	return len(g.Dropped) > 0
}

// List returns the addresses alone, in order.
func (g Grant) List() []netip.Addr {
	out := make([]netip.Addr, len(g.Addrs))
	for i, a := range g.Addrs {
		out[i] = a.Addr
	}
	return out
}

// Assigned is one address of a [Grant], and how full its pool is.
type Assigned struct {
	Addr netip.Addr
	// Pool is the name of the pool it came from or lies in; "" for an address outside every pool of the namespace.
	Pool string
	// Used and Size are the pool's addresses of this family that are in use, this one included, and all it has.
	Used, Size Count
	// New tells that the Service didn't have it before; Shared that other Services have it too; Requested that the user asked for it.
	New, Shared, Requested bool
}

// String returns the text of a human's Event: "10.0.0.7 from pool shop (13 of 256 used)".
func (a Assigned) String() string {
	switch {
	case a.Addr.IsUnspecified():
		return a.Addr.String() + " (by DHCP)"
	case a.Pool == "":
		return a.Addr.String() + " outside the pools"
	case a.Size.IsZero(): // not a pool that is counted
		return a.Addr.String() + " from " + a.Pool
	}
	return fmt.Sprintf("%s from pool %s (%s of %s used)", a.Addr, a.Pool, a.Used, a.Size)
}
