package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Attributes of RTM_NEWADDR that x/sys/unix lacks (include/uapi/linux/if_addr.h).
const ifaProto = 11 // since kernel 5.18

// attributeKind masks NLA_F_NESTED and NLA_F_NET_BYTEORDER off.
const attributeKind = 0x3fff

// forever is a valid lifetime without end (INFINITY_LIFE_TIME).
const forever = ^uint32(0)

var errShort = errors.New("short netlink message")

// message is one netlink message: what its header says, and the payload behind it.
type message struct {
	kind    uint16
	flags   uint16
	seq     uint32
	payload []byte
}

// nextMessage splits the first message off b. The answer shares b's memory.
func nextMessage(b []byte) (message, []byte, error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return message{}, nil, errShort
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < unix.NLMSG_HDRLEN || size > len(b) {
		return message{}, nil, errShort
	}
	m := message{
		kind:    binary.NativeEndian.Uint16(b[4:]),
		flags:   binary.NativeEndian.Uint16(b[6:]),
		seq:     binary.NativeEndian.Uint32(b[8:]),
		payload: b[unix.NLMSG_HDRLEN:size],
	}
	return m, b[min(align(size), len(b)):], nil
}

// eachAttribute calls visit for every attribute in b; nested flags are masked off the kind.
func eachAttribute(b []byte, visit func(kind uint16, value []byte)) error {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return errShort
		}
		visit(binary.NativeEndian.Uint16(b[2:])&attributeKind, b[unix.SizeofRtAttr:size])
		b = b[min(align(size), len(b)):]
	}
	return nil
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// entry is an address as the kernel reports it.
type entry struct {
	index    int
	prefix   netip.Prefix
	scope    uint8
	flags    uint32
	proto    uint8
	metric   uint32
	valid    uint32    // seconds at seen, or forever
	seen     time.Time // when we read it
	initial  bool      // was there when we opened
	unwanted bool      // ours, was there when we opened, and nobody has wanted it yet
}

func (e entry) permanent() bool { return e.valid == forever }

// parseAddress reads the payload of RTM_NEWADDR or RTM_DELADDR (rtnetlink(7), struct ifaddrmsg).
func parseAddress(b []byte) (entry, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return entry{}, errShort
	}
	e := entry{
		flags: uint32(b[2]),
		scope: b[3],
		index: int(binary.NativeEndian.Uint32(b[4:])),
		valid: forever,
	}
	var address, local netip.Addr
	err := eachAttribute(b[unix.SizeofIfAddrmsg:], func(kind uint16, v []byte) {
		switch {
		case kind == unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(v)
		case kind == unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case kind == unix.IFA_FLAGS && len(v) == 4:
			e.flags = binary.NativeEndian.Uint32(v)
		case kind == unix.IFA_CACHEINFO && len(v) >= 8:
			e.valid = binary.NativeEndian.Uint32(v[4:])
		case kind == ifaProto && len(v) == 1:
			e.proto = v[0]
		case kind == unix.IFA_RT_PRIORITY && len(v) == 4:
			e.metric = binary.NativeEndian.Uint32(v)
		}
	})
	if local.IsValid() { // the peer of a point-to-point address is in IFA_ADDRESS
		address = local
	}
	if err != nil {
		return entry{}, err
	}
	if !address.IsValid() || address.Is4() != (b[0] == unix.AF_INET) {
		return entry{}, fmt.Errorf("family %d and address %v don't agree", b[0], address)
	}
	e.prefix = netip.PrefixFrom(address, int(b[1]))
	if !e.prefix.IsValid() {
		return entry{}, fmt.Errorf("%v has no prefix of %d bits", address, b[1])
	}
	return e, nil
}

// parseLink reads the payload of RTM_NEWLINK or RTM_DELLINK.
func parseLink(b []byte) (Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, errShort
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	l := Link{
		Index:    int(binary.NativeEndian.Uint32(b[4:])),
		Up:       flags&unix.IFF_UP != 0,
		Carrier:  flags&unix.IFF_LOWER_UP != 0 && flags&unix.IFF_RUNNING != 0,
		Loopback: flags&unix.IFF_LOOPBACK != 0,
		NoARP:    flags&unix.IFF_NOARP != 0,
	}
	err := eachAttribute(b[unix.SizeofIfInfomsg:], func(kind uint16, v []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = unix.ByteSliceToString(v)
		case unix.IFLA_ADDRESS:
			l.MAC = append(net.HardwareAddr(nil), v...)
		}
	})
	if err == nil && l.Name == "" {
		err = errors.New("link without a name")
	}
	return l, err
}

// parseResult reads the payload of NLMSG_ERROR: nil is success. The kernel's own words come with it where it has any.
func parseResult(b []byte, extended bool) error {
	if len(b) < 4 {
		return errShort
	}
	code := -int32(binary.NativeEndian.Uint32(b))
	if code == 0 {
		return nil
	}
	err := unix.Errno(code)
	var text string
	// An error carries the whole request that it answers, then the attributes of struct nlmsgerr.
	if rest := b[4:]; extended && len(rest) >= unix.NLMSG_HDRLEN {
		if size := align(int(binary.NativeEndian.Uint32(rest))); size <= len(rest) {
			_ = eachAttribute(rest[size:], func(kind uint16, v []byte) {
				if kind == unix.NLMSGERR_ATTR_MSG {
					text = unix.ByteSliceToString(v)
				}
			})
		}
	}
	if text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// appendHeader starts a message in b and returns it with the offset to give finish.
func appendHeader(b []byte, kind, flags uint16, seq uint32) ([]byte, int) {
	at := len(b)
	b = append(b, 0, 0, 0, 0) // length, by finish
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	return append(b, 0, 0, 0, 0), at
}

func finish(b []byte, at int) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

func appendAttribute(b []byte, kind uint16, value ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// appendAddress appends RTM_NEWADDR or RTM_DELADDR for o.
func appendAddress(b []byte, o op, flags uint16, seq uint32) []byte {
	kind := uint16(unix.RTM_NEWADDR)
	if o.remove {
		kind = unix.RTM_DELADDR
	}
	b, at := appendHeader(b, kind, flags, seq)
	addr := o.prefix.Addr()
	family := byte(unix.AF_INET6)
	if addr.Is4() {
		family = unix.AF_INET
	}
	b = append(b, family, byte(o.prefix.Bits()), 0, o.scope)
	b = binary.NativeEndian.AppendUint32(b, uint32(o.index))
	raw := addr.AsSlice()
	b = appendAttribute(b, unix.IFA_LOCAL, raw...)
	b = appendAttribute(b, unix.IFA_ADDRESS, raw...)
	if o.remove {
		return finish(b, at)
	}
	word := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	b = appendAttribute(b, unix.IFA_FLAGS, word(o.flags)...)
	var cache [unix.SizeofIfaCacheinfo]byte // preferred lifetime 0: never a source address
	binary.NativeEndian.PutUint32(cache[4:], o.valid)
	b = appendAttribute(b, unix.IFA_CACHEINFO, cache[:]...)
	b = appendAttribute(b, ifaProto, o.proto)
	b = appendAttribute(b, unix.IFA_RT_PRIORITY, word(o.metric)...)
	return finish(b, at)
}

// appendDump appends a request for every link (RTM_GETLINK) or every address (RTM_GETADDR).
func appendDump(b []byte, kind uint16, seq uint32) []byte {
	b, at := appendHeader(b, kind, unix.NLM_F_DUMP, seq)
	if kind == unix.RTM_GETLINK {
		b = append(b, make([]byte, unix.SizeofIfInfomsg)...)
	} else {
		b = append(b, make([]byte, unix.SizeofIfAddrmsg)...)
	}
	return finish(b, at)
}
