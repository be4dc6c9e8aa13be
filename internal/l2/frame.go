package l2

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

// String returns m as "02:00:5e:10:00:01".
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// unicast reports whether m can be a station's own address: not zero, and not a group's.
func (m MAC) unicast() bool { return m != MAC{} && m[0]&1 == 0 }

const (
	etherSize = 14
	arpSize   = etherSize + 28
	ipv6Size  = 40
	ndSize    = 24 // ICMPv6 header, flags and target: RFC 4861, 4.3 and 4.4
	frameSize = 1 << 11
)

const (
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd
	protoICMPv6   = 58
	hopLimit      = 255 // RFC 4861, 7.1: anything less may come through a router
	icmpNS        = 135
	icmpNA        = 136
	optionSource  = 1 // source link-layer address
	optionTarget  = 2 // target link-layer address
	flagSolicited = 0x40
	flagOverride  = 0x20
)

// operation is the kind of an ARP packet (RFC 826).
type operation uint16

const (
	arpRequest operation = 1
	arpReply   operation = 2
)

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// allNodes is ff02::1.
var allNodes = netip.IPv6LinkLocalAllNodes()

// announcements returns the frames that tell a LAN that addr is at mac.
//
// IPv4: a gratuitous ARP request (RFC 5227, 3), which every system takes, and a reply for what only listens to those. The
// reply's target is our own MAC: Linux takes such a one at once, and one with the broadcast address as its target only when
// its entry is a second old. IPv6: an unsolicited neighbour advertisement that overrides (RFC 4861, 7.2.6), from the address
// itself as Linux does it, so that it needs no other address on the link.
func announcements(addr netip.Addr, mac MAC) [][]byte {
	if addr.Is4() {
		return [][]byte{
			arpFrame(arpRequest, mac, addr, MAC{}, addr),
			arpFrame(arpReply, mac, addr, mac, addr),
		}
	}
	return [][]byte{ndFrame(ndMessage{
		kind: icmpNA, flags: flagOverride, mac: mac, from: addr, to: allNodes, target: addr, option: optionTarget,
	})}
}

// refresh returns the one frame that keeps what announcements told from growing old.
func refresh(addr netip.Addr, mac MAC) [][]byte { return announcements(addr, mac)[:1] }

// probe returns the frame that asks whether anybody uses addr: an ARP probe (RFC 5227, 2.1.1), or a neighbour solicitation as
// for duplicate address detection (RFC 4862, 5.4.2).
func probe(addr netip.Addr, mac MAC) []byte {
	if addr.Is4() {
		return arpFrame(arpRequest, mac, netip.IPv4Unspecified(), MAC{}, addr)
	}
	return ndFrame(ndMessage{kind: icmpNS, mac: mac, from: netip.IPv6Unspecified(), to: solicitedNode(addr), target: addr})
}

func etherHeader(b []byte, to, from MAC, kind uint16) []byte {
	b = append(b, to[:]...)
	b = append(b, from[:]...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// arpFrame returns an ARP packet for the whole LAN (RFC 826).
func arpFrame(op operation, sender MAC, senderAddr netip.Addr, target MAC, targetAddr netip.Addr) []byte {
	b := etherHeader(make([]byte, 0, arpSize), broadcast, sender, etherTypeARP)
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4 and the sizes of their addresses
	b = binary.BigEndian.AppendUint16(b, uint16(op))
	b = append(b, sender[:]...)
	b = append(b, senderAddr.AsSlice()...)
	b = append(b, target[:]...)
	return append(b, targetAddr.AsSlice()...)
}

// ndMessage is a neighbour solicitation or advertisement.
type ndMessage struct {
	kind, flags byte
	mac         MAC
	from, to    netip.Addr
	target      netip.Addr
	option      byte // that carries mac; 0 for none
}

func ndFrame(m ndMessage) []byte {
	icmp := make([]byte, ndSize, ndSize+8)
	icmp[0], icmp[4] = m.kind, m.flags
	copy(icmp[8:], m.target.AsSlice())
	if m.option != 0 {
		icmp = append(icmp, m.option, 1)
		icmp = append(icmp, m.mac[:]...)
	}
	binary.BigEndian.PutUint16(icmp[2:], checksum(m.from, m.to, icmp))
	b := etherHeader(make([]byte, 0, etherSize+ipv6Size+len(icmp)), multicastMAC(m.to), m.mac, etherTypeIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(icmp)))
	b = append(b, protoICMPv6, hopLimit)
	b = append(b, m.from.AsSlice()...)
	b = append(b, m.to.AsSlice()...)
	return append(b, icmp...)
}

// multicastMAC is the Ethernet group of an IPv6 group (RFC 2464, 7).
func multicastMAC(group netip.Addr) MAC {
	a := group.As16()
	return MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

// solicitedNode is the solicited-node group of addr (RFC 4291, 2.7.1).
func solicitedNode(addr netip.Addr) netip.Addr {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}

// checksum is that of ICMPv6 (RFC 4443, 2.3): 0 over a message that carries the right one. The size of neighbour messages is
// even, or they are malformed in any case.
func checksum(from, to netip.Addr, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + protoICMPv6
	add := func(b []byte) {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	f, t := from.As16(), to.As16()
	add(f[:])
	add(t[:])
	add(icmp)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
