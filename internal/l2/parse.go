package l2

import (
	"encoding/binary"
	"net/netip"
)

// Kind is what a foreign frame does with an address.
type Kind string

const (
	// Claim is the use of an address: an announcement, an answer, or a question asked from it.
	Claim Kind = "claim"
	// Query is the question whether an address is free, by somebody who is about to use it: an ARP probe (RFC 5227) or a
	// neighbour solicitation of duplicate address detection (RFC 4862).
	Query Kind = "query"
)

// claim is what one frame says of one address.
type claim struct {
	addr netip.Addr
	mac  MAC
	kind Kind
}

// parse reads an Ethernet frame from anybody, and reports whether it says anything of an address.
func parse(frame []byte) (claim, bool) {
	if len(frame) < etherSize {
		return claim{}, false
	}
	var c claim
	var ok bool
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeARP:
		c, ok = parseARP(frame[etherSize:])
	case etherTypeIPv6:
		c, ok = parseND(frame[etherSize:], MAC(frame[6:12]))
	}
	if !ok || !c.mac.unicast() || !c.addr.IsValid() || c.addr.IsUnspecified() || c.addr.IsMulticast() {
		return claim{}, false
	}
	return c, true
}

func parseARP(b []byte) (claim, bool) {
	if len(b) < arpSize-etherSize || [6]byte(b) != [6]byte{0, 1, 8, 0, 6, 4} {
		return claim{}, false
	}
	op := operation(binary.BigEndian.Uint16(b[6:]))
	mac, sender, target := MAC(b[8:14]), netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	switch {
	case op != arpRequest && op != arpReply:
		return claim{}, false
	case !sender.IsUnspecified():
		return claim{sender, mac, Claim}, true
	case op == arpRequest:
		return claim{target, mac, Query}, true
	}
	return claim{}, false
}

// parseND reads an IPv6 packet; the checks are those of RFC 4861, 7.1.1 and 7.1.2.
func parseND(b []byte, source MAC) (claim, bool) {
	if len(b) < ipv6Size+ndSize || b[0]>>4 != 6 || b[6] != protoICMPv6 || b[7] != hopLimit {
		return claim{}, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < ndSize || size > len(b)-ipv6Size {
		return claim{}, false
	}
	from, to := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	icmp := b[ipv6Size : ipv6Size+size]
	if icmp[1] != 0 || checksum(from, to, icmp) != 0 {
		return claim{}, false
	}
	target := netip.AddrFrom16([16]byte(icmp[8:24]))
	switch kind := icmp[0]; {
	case kind == icmpNA:
		mac, ok := linkAddress(icmp[ndSize:], optionTarget, source)
		return claim{target, mac, Claim}, ok && !(to.IsMulticast() && icmp[4]&flagSolicited != 0)
	case kind == icmpNS && from.IsUnspecified():
		mac, ok := linkAddress(icmp[ndSize:], optionSource, MAC{})
		return claim{target, source, Query}, ok && mac == MAC{} && to == solicitedNode(target)
	case kind == icmpNS:
		mac, ok := linkAddress(icmp[ndSize:], optionSource, source)
		return claim{from, mac, Claim}, ok
	}
	return claim{}, false
}

// linkAddress returns the MAC in the option of this kind, or absent where there is none; ok is false for malformed options.
func linkAddress(options []byte, kind byte, absent MAC) (mac MAC, ok bool) {
	mac = absent
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return MAC{}, false
		}
		size := int(options[1]) * 8
		if options[0] == kind && size == 8 {
			mac = MAC(options[2:8])
		}
		options = options[size:]
	}
	return mac, true
}
