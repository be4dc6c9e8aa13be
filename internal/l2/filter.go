package l2

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in an Ethernet frame for the filters.
const (
	atARP       = etherSize
	atNext      = etherSize + 6
	atICMP      = etherSize + ipv6Size
	wholePacket = frameSize
)

// foreign are the first instructions of each filter of a link's port: what the kernel's own ARP and NDP don't take on that link is
// dropped. That is frames of our own, those for other stations, and those of a VLAN that the kernel has no link for, whose tag it
// removes and which it says are for another station. And it is frames that came in by this link and belong to another one above it, as
// those of a VLAN that has a link: without their tag too, they are given to who listens on either (orig_dev and skb->dev of
// __netif_receive_skb_core in net/core/dev.c). The last two of the filter are accept and drop; size is how many lie between.
func foreign(link, size int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}, // of skb->dev
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(link), SkipTrue: uint8(size + 3)},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: uint8(size + 1)},
	}
}

func arpFilter(link int) []bpf.Instruction {
	const size = 6
	return append(foreign(link, size),
		bpf.LoadAbsolute{Off: atARP, Size: 4}, // hardware type and protocol type
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x00010800, SkipTrue: 5},
		bpf.LoadAbsolute{Off: atARP + 4, Size: 2}, // sizes
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0604, SkipTrue: 3},
		bpf.LoadAbsolute{Off: atARP + 6, Size: 2}, // operation
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(arpReply), SkipTrue: 1},
		bpf.RetConstant{Val: wholePacket},
		bpf.RetConstant{Val: 0},
	)
}

func ndFilter(link int) []bpf.Instruction {
	const size = 5
	return append(foreign(link, size),
		bpf.LoadAbsolute{Off: atNext, Size: 2}, // next header and hop limit
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6<<8 | hopLimit, SkipTrue: 4},
		bpf.LoadAbsolute{Off: atICMP, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpNS, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpNA, SkipTrue: 1},
		bpf.RetConstant{Val: wholePacket},
		bpf.RetConstant{Val: 0},
	)
}
