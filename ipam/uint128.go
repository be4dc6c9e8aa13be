package ipam

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// uint128 is an address of either family as a number. Unlike a netip.Addr it has no pointer for the garbage collector to follow; which
// family is meant is known from where it is kept.
type uint128 struct{ hi, lo uint64 }

func number(addr netip.Addr) uint128 {
	if addr.Is4() {
		b := addr.As4()
		return uint128{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := addr.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n uint128) addr(f Family) netip.Addr {
	if f == IPv4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

func (n uint128) compare(m uint128) int {
	if n.hi != m.hi {
		return cmp.Compare(n.hi, m.hi)
	}
	return cmp.Compare(n.lo, m.lo)
}

func (n uint128) less(m uint128) bool { return n.hi < m.hi || n.hi == m.hi && n.lo < m.lo }

// plus and minus wrap round.
func (n uint128) plus(d uint64) uint128 {
	lo, carry := bits.Add64(n.lo, d, 0)
	return uint128{n.hi + carry, lo}
}

func (n uint128) minus(d uint64) uint128 {
	lo, borrow := bits.Sub64(n.lo, d, 0)
	return uint128{n.hi - borrow, lo}
}

func least(a, b uint128) uint128 {
	if a.less(b) {
		return a
	}
	return b
}

func greatest(a, b uint128) uint128 {
	if a.less(b) {
		return b
	}
	return a
}

// block returns the number of the block of 256 addresses that n lies in: an IPv4 /24, an IPv6 /120.
func (n uint128) block() uint128 { return uint128{n.hi >> 8, n.hi<<56 | n.lo>>8} }

// within returns the i-th address of block n.
func (n uint128) within(i uint64) uint128 { return uint128{n.hi<<8 | n.lo>>56, n.lo<<8 | i} }
