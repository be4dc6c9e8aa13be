package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go4.org/netipx"
)

// Element is one element of a pool's list: a CIDR, a range or a single address. Both ends belong to it and are of one family.
type Element struct {
	First, Last netip.Addr
	// CIDR tells that it was written as a CIDR, of which skip-end-ips-in-cidr leaves out the ends.
	CIDR bool
}

// ParseElement reads a CIDR, of which host bits mean the whole prefix, a range (first-last) or an address. Spaces are allowed around each part.
func ParseElement(text string) (Element, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Element{}, errors.New("empty element")
	}
	if first, last, ok := strings.Cut(text, "-"); ok {
		return parseRange(strings.TrimSpace(first), strings.TrimSpace(last))
	}
	if !strings.Contains(text, "/") {
		addr, err := parseAddr(text)
		return Element{First: addr, Last: addr}, err
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return Element{}, errors.New(reword(err))
	case prefix.Addr().Is4In6():
		return Element{}, errors.New("write an IPv4 prefix as IPv4")
	case prefix.Bits() == 0:
		return Element{}, errors.New("a pool can't be the whole address space")
	}
	r := netipx.RangeOfPrefix(prefix)
	return Element{First: r.From(), Last: r.To(), CIDR: true}, nil
}

func parseRange(from, to string) (Element, error) {
	first, err := parseAddr(from)
	last, err2 := parseAddr(to)
	switch {
	case err != nil && err2 != nil:
		return Element{}, fmt.Errorf("%q: %w, %q: %w", from, err, to, err2)
	case err != nil:
		return Element{}, fmt.Errorf("%q: %w", from, err)
	case err2 != nil:
		return Element{}, fmt.Errorf("%q: %w", to, err2)
	case first.BitLen() != last.BitLen():
		return Element{}, errors.New("the ends of the range are of different families")
	case last.Less(first):
		return Element{}, errors.New("the range ends before it begins")
	}
	return Element{First: first, Last: last}, nil
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, errors.New(reword(err))
	case addr.Zone() != "":
		return netip.Addr{}, errors.New("a zone is not allowed")
	}
	return addr.Unmap(), nil
}

// reword takes the name of the function out of netip's errors.
func reword(err error) string {
	_, rest, _ := strings.Cut(err.Error(), ": ")
	return rest
}

// String returns the text that [ParseElement] reads back.
func (e Element) String() string {
	if e.CIDR {
		if p, ok := netipx.IPRangeFrom(e.First, e.Last).Prefix(); ok {
			return p.String()
		}
	}
	if e.First == e.Last {
		return e.First.String()
	}
	return e.First.String() + "-" + e.Last.String()
}

// DHCP reports whether the element is the marker 0.0.0.0/32 or ::/128, which stands for an address by DHCP.
func (e Element) DHCP() bool { return e.First == e.Last && e.First.IsUnspecified() }

// Contains reports whether addr is one of the element's addresses.
func (e Element) Contains(addr netip.Addr) bool {
	return addr.BitLen() == e.First.BitLen() && e.First.Compare(addr) <= 0 && addr.Compare(e.Last) <= 0
}

// Prefixes returns the fewest prefixes that make up the element.
func (e Element) Prefixes() []netip.Prefix { return netipx.IPRangeFrom(e.First, e.Last).Prefixes() }

// unusable returns the sort of addresses within e that no Service can have, or "".
func (e Element) unusable() string {
	for _, r := range reserved() {
		if e.First.BitLen() == r.Prefix.Addr().BitLen() && netipx.RangeOfPrefix(r.Prefix).Overlaps(netipx.IPRangeFrom(e.First, e.Last)) {
			return r.What
		}
	}
	return ""
}

// reserved are the addresses that no Service can have.
func reserved() []Exclusion {
	return []Exclusion{
		{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 1122, 3.2.1.3)"},
		{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
		{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
		{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
		{netip.MustParsePrefix("::/128"), "unspecified"},
		{netip.MustParsePrefix("::1/128"), "loopback"},
		{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
		{netip.MustParsePrefix("ff00::/8"), "multicast"},
	}
}
