package netns

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	ethernetLen = 14
	ipv6Len     = 40

	solicitation  = 135 // ICMPv6 types, RFC 4861 section 4
	advertisement = 136

	optionSource = 1 // link-layer address options, RFC 4861 section 4.6.1
	optionTarget = 2
)

// neighbourFilter passes ARP, and IPv6 neighbour solicitations and advertisements.
func neighbourFilter() ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 6},
		bpf.LoadAbsolute{Off: ethernetLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: ethernetLen + ipv6Len, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: advertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
}

// parseFrame reads what an Ethernet frame says about an address; ok is false when
// it says nothing.
func parseFrame(frame []byte) (a Answer, ok bool) {
	if len(frame) < ethernetLen {
		return a, false
	}
	a.To = bytes.Clone(frame[:6])
	body := frame[ethernetLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		return parseARP(a, body)
	case unix.ETH_P_IPV6:
		return parseND(a, body)
	}
	return a, false
}

// parseARP reads an Ethernet and IPv4 ARP packet (RFC 826).
func parseARP(a Answer, body []byte) (Answer, bool) {
	if len(body) < 28 || !bytes.Equal(body[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return a, false
	}
	sender, target := netip.AddrFrom4([4]byte(body[14:18])), netip.AddrFrom4([4]byte(body[24:28]))
	a.ARPReply = binary.BigEndian.Uint16(body[6:]) == 2
	a.MAC = bytes.Clone(body[8:14])
	a.Addr = sender
	switch {
	case sender.IsUnspecified():
		a.Addr, a.Kind = target, Detection
	case sender == target:
		a.Kind = Announcement
	case a.ARPReply:
		a.Kind = Reply
	default:
		a.Kind = Query
	}
	return a, true
}

// parseND reads a neighbour solicitation or advertisement.
func parseND(a Answer, body []byte) (Answer, bool) {
	if len(body) < ipv6Len+24 {
		return a, false
	}
	source := netip.AddrFrom16([16]byte(body[8:24]))
	icmp := body[ipv6Len:]
	target := netip.AddrFrom16([16]byte(icmp[8:24]))
	switch icmp[0] {
	case advertisement:
		const solicited, override = 1 << 6, 1 << 5
		a.Addr, a.Kind, a.MAC = target, Announcement, linkLayerOption(icmp[24:], optionTarget)
		if icmp[4]&solicited != 0 {
			a.Kind = Reply
		}
		a.Override = icmp[4]&override != 0
	case solicitation:
		a.Addr, a.Kind, a.MAC = source, Query, linkLayerOption(icmp[24:], optionSource)
		if source.IsUnspecified() {
			a.Addr, a.Kind = target, Detection
		}
	default:
		return a, false
	}
	return a, true
}

// linkLayerOption finds an Ethernet address among neighbour discovery options.
func linkLayerOption(options []byte, kind byte) net.HardwareAddr {
	for len(options) >= 8 {
		size := int(options[1]) * 8
		if size == 0 || size > len(options) {
			return nil
		}
		if options[0] == kind {
			return bytes.Clone(options[2:8])
		}
		options = options[size:]
	}
	return nil
}

// arpRequest asks who has target (RFC 826).
func arpRequest(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	f := ethernet(broadcast, mac, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(f, mac...)
	f = append(f, sender.AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, target.AsSlice()...)
}

// neighbourSolicitation asks who has target (RFC 4861 section 4.3).
func neighbourSolicitation(mac net.HardwareAddr, source, target netip.Addr) []byte {
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	icmp := append([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0}, t[:]...)
	return neighbourDiscovery(mac, source, group, append(append(icmp, optionSource, 1), mac...))
}

// neighbourAdvertisement tells all nodes that target is at mac, and to believe it over what they knew (RFC 4861 section 4.4).
func neighbourAdvertisement(mac net.HardwareAddr, target netip.Addr) []byte {
	const override = 1 << 5
	icmp := append([]byte{advertisement, 0, 0, 0, override, 0, 0, 0}, target.AsSlice()...)
	return neighbourDiscovery(mac, target, netip.IPv6LinkLocalAllNodes(), append(append(icmp, optionTarget, 1), mac...))
}

// neighbourDiscovery puts an ICMPv6 message without its checksum into a frame for a multicast group.
func neighbourDiscovery(mac net.HardwareAddr, source, group netip.Addr, icmp []byte) []byte {
	binary.BigEndian.PutUint16(icmp[2:], checksum(source, group, icmp))
	g := group.As16()
	f := ethernet(net.HardwareAddr{0x33, 0x33, g[12], g[13], g[14], g[15]}, mac, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, source.AsSlice()...), group.AsSlice()...)
	return append(f, icmp...)
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte{}, to...), from...), kind)
}

// checksum is the ICMPv6 checksum over pseudo-header and message (RFC 4443
// section 2.3).
func checksum(source, destination netip.Addr, message []byte) uint16 {
	data := append(source.AsSlice(), destination.AsSlice()...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(message)))
	data = append(data, 0, 0, 0, unix.IPPROTO_ICMPV6)
	data = append(data, message...)
	if len(data)%2 == 1 {
		data = append(data, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
