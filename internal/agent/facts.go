package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Facts is what an agent knows of its surroundings when it judges an address. It is built anew when something changes, and
// never changed afterwards.
type Facts struct {
	hosts   map[netip.Addr]string
	nets    map[netip.Prefix]string
	lengths []int // the prefix lengths in nets, longest first
	subnets []Subnet
}

// Subnet is a network that a link of this node is in.
type Subnet struct {
	Link   string
	Prefix netip.Prefix // the link's own address with its prefix length
}

// Reserved is something that no Service may have.
type Reserved struct {
	Prefix netip.Prefix
	What   string // as in "192.0.2.1: <What>"
}

// NewFacts returns facts with what is reserved and the subnets of this node's links.
func NewFacts(reserved []Reserved, subnets []Subnet) *Facts {
	f := &Facts{hosts: make(map[netip.Addr]string), nets: make(map[netip.Prefix]string), subnets: slices.Clone(subnets)}
	for _, r := range reserved {
		switch {
		case !r.Prefix.IsValid():
		case r.Prefix.IsSingleIP():
			f.hosts[r.Prefix.Addr()] = r.What
		default:
			f.nets[r.Prefix.Masked()] = r.What
			if !slices.Contains(f.lengths, r.Prefix.Bits()) {
				f.lengths = append(f.lengths, r.Prefix.Bits())
			}
		}
	}
	slices.SortFunc(f.lengths, func(a, b int) int { return b - a })
	return f
}

// Refuses returns why addr can't be the address of a Service, "" if it can.
func (f *Facts) Refuses(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified(), addr.IsLoopback(), addr.IsMulticast(), addr.IsLinkLocalUnicast():
		return "not an address that a Service can have"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	}
	if what, ok := f.hosts[addr]; ok {
		return what
	}
	for _, bits := range f.lengths {
		if p, err := addr.Prefix(bits); err == nil {
			if what, ok := f.nets[p]; ok {
				return what
			}
		}
	}
	for _, s := range f.subnets {
		if s.Prefix.Addr().Is4() && !s.Prefix.IsSingleIP() && s.Prefix.Bits() < 31 && s.Prefix.Contains(addr) {
			if addr == s.Prefix.Masked().Addr() || addr == broadcast(s.Prefix) {
				return fmt.Sprintf("network or broadcast address of %s on %s", s.Prefix.Masked(), s.Link)
			}
		}
	}
	return ""
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// LinkOf returns the link whose subnet holds addr, the longest prefix first, and "" if there is none.
func (f *Facts) LinkOf(addr netip.Addr) string {
	var best Subnet
	for _, s := range f.subnets {
		if s.Prefix.Masked().Contains(addr) && !s.Prefix.IsSingleIP() && (!best.Prefix.IsValid() || s.Prefix.Bits() > best.Prefix.Bits()) {
			best = s
		}
	}
	return best.Link
}

// BitsOn returns the prefix length of link's subnet that holds addr, and the length of a single address if there is none.
func (f *Facts) BitsOn(link string, addr netip.Addr) int {
	for _, s := range f.subnets {
		if s.Link == link && s.Prefix.Masked().Contains(addr) {
			return s.Prefix.Bits()
		}
	}
	return addr.BitLen()
}

// equal reports whether f and g say the same.
func (f *Facts) equal(g *Facts) bool {
	return maps.Equal(f.hosts, g.hosts) && maps.Equal(f.nets, g.nets) && slices.Equal(f.subnets, g.subnets)
}
