package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

func (p Peer) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case p.Link != "" && p.Addr.IsValid():
		fail("an address and a link")
	case p.Link != "":
		if !validLink(p.Link) {
			fail("%q is not the name of a link", p.Link)
		}
	case !oneHost(p.Addr):
		fail("not an address of one host")
	case p.Addr.IsLinkLocalUnicast() && p.Addr.Is6() && p.Addr.Zone() == "":
		fail("a link-local address needs a zone, as in [%s%%eth0]", p.Addr)
	}
	if !validASN(p.ASN) && !(p.ASN == 0 && p.Link != "") {
		fail("%d is not an AS number", p.ASN)
	}
	if p.LocalASN != 0 && !validASN(p.LocalASN) {
		fail("local %d is not an AS number", p.LocalASN)
	}
	if p.MultihopTTL != 0 && p.TTLSecurity != 0 {
		fail("multihop and ttlsecurity exclude each other")
	}
	if p.MultihopTTL == 1 {
		fail("a multihop TTL of 1 is no multihop")
	}
	if p.Link != "" && p.MultihopTTL != 0 {
		fail("an unnumbered peer has no multihop")
	}
	if len(p.Password) > maxPassword {
		fail("the password is longer than %d bytes", maxPassword)
	}
	if p.PasswordFile != "" && p.PasswordSecret != "" {
		fail("passwordfile and secret exclude each other")
	}
	return errors.Join(append(errs, p.NextHop.validate(), p.BFD.validate())...)
}

func (n NextHop) validate() error {
	switch n.Mode {
	case NextHopFixed:
		if !n.IPv4.IsValid() && !n.IPv6.IsValid() {
			return errors.New("mpbgp_nexthop=fixed needs mpbgp_ipv4 or mpbgp_ipv6")
		}
	case "", NextHopSourceIP, NextHopSourceLink:
		if n.IPv4.IsValid() || n.IPv6.IsValid() {
			return errors.New("mpbgp_ipv4 and mpbgp_ipv6 are for mpbgp_nexthop=fixed")
		}
	default:
		return fmt.Errorf("mpbgp_nexthop=%q is none of fixed, auto_sourceip, auto_sourceif", string(n.Mode))
	}
	if n.IPv4.IsValid() && !n.IPv4.Is4() {
		return fmt.Errorf("mpbgp_ipv4=%q is not an IPv4 address", n.IPv4)
	}
	if n.IPv6.IsValid() && (!n.IPv6.Is6() || n.IPv6.Is4In6() || n.IPv6.Zone() != "") {
		return fmt.Errorf("mpbgp_ipv6=%q is not an IPv6 address", n.IPv6)
	}
	return nil
}

func (b BFD) validate() error {
	if !b.Enabled {
		return nil
	}
	var errs []error
	for name, interval := range map[string]time.Duration{"rx": b.MinRx, "tx": b.MinTx} {
		if interval < 10*time.Millisecond || interval > time.Minute || interval != interval.Truncate(time.Millisecond) {
			errs = append(errs, fmt.Errorf("BFD %s interval %s is not whole milliseconds from 10 to 60000", name, interval))
		}
	}
	if b.Multiplier == 0 {
		errs = append(errs, errors.New("a BFD multiplier of 0"))
	}
	return errors.Join(errs...)
}

func oneHost(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// validLink follows dev_valid_name of the kernel (net/core/dev.c).
func validLink(name string) bool {
	if name == "" || len(name) > 15 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == '/' || c == ':' || c >= 0x7f {
			return false
		}
	}
	return true
}
