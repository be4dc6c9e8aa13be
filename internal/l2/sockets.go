package l2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Sockets is the [Network] of the kernel's packet sockets (packet(7)), which needs CAP_NET_RAW.
type Sockets struct{}

// Open opens a packet socket that hears nothing but what concerns its family.
func (Sockets) Open(link string, family Family) (Port, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	if len(ifi.HardwareAddr) != len(MAC{}) || ifi.Flags&net.FlagLoopback != 0 || noARP(link) {
		return nil, ErrNoNeighbours
	}
	protocol, filter := unix.ETH_P_ARP, arpFilter(ifi.Index)
	if family == IPv6 {
		protocol, filter = unix.ETH_P_IPV6, ndFilter(ifi.Index)
	}
	program, err := bpf.Assemble(filter)
	if err != nil {
		return nil, fmt.Errorf("assembling the filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, protocol, &packet.Config{Filter: program})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &socket{Conn: conn, raw: raw, mac: MAC(ifi.HardwareAddr), index: ifi.Index}, nil
}

// noARP reports whether a link speaks no neighbour protocol, as a tunnel: [net.Interface] doesn't tell.
func noARP(link string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(link)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request) != nil {
		return false
	}
	return request.Uint16()&unix.IFF_NOARP != 0
}

type socket struct {
	*packet.Conn
	raw    syscall.RawConn
	mac    MAC
	index  int
	closed atomic.Bool

	// The reader's, of which the poller lets one read at a time.
	last  time.Time // when a frame came
	dense bool      // close on another
}

// gather is how long the reader waits for more after a frame that came that close on another: who refreshes many addresses sends
// many frames in a row, and to wake up for each of them costs several times what reading it does.
const gather = time.Millisecond

// MAC implements [Port].
func (s *socket) MAC() MAC { return s.mac }

// Send implements [Port]. It goes past the runtime's poller, which would wait for room and so send later than was right.
func (s *socket) Send(frame []byte) error {
	to := unix.SockaddrLinklayer{Ifindex: s.index, Halen: 6}
	copy(to.Addr[:], frame[:6])
	to.Protocol = binary.NativeEndian.Uint16(frame[12:]) // in network order, as it is in the frame
	var result error
	err := s.raw.Control(func(fd uintptr) { result = unix.Sendto(int(fd), frame, unix.MSG_DONTWAIT, &to) })
	return linkError(errors.Join(err, result))
}

// Receive implements [Port]. Who sent a frame is in the frame: asking the kernel for it too would be half of the cost.
func (s *socket) Receive(frame []byte) (n int, err error) {
	var result error
	err = s.raw.Read(func(fd uintptr) bool {
		if n, result = read(int(fd), frame); result == unix.EAGAIN && s.dense {
			<-time.After(gather)
			s.dense = false
			n, result = read(int(fd), frame)
		}
		if result == unix.EAGAIN {
			return false
		}
		now := time.Now()
		s.last, s.dense = now, now.Sub(s.last) < gather
		return true
	})
	switch err = errors.Join(err, result); {
	case err == nil:
		return n, nil
	case s.closed.Load():
		return 0, errors.Join(err, net.ErrClosed)
	}
	return 0, linkError(err)
}

func read(fd int, b []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

// Join implements [Port] by an ordinary socket, of which the kernel tells the LAN by MLD about two clock ticks later (mld_ifc_event in
// net/ipv6/mcast.c): without that a switch that snoops (RFC 4541) passes nothing on. To the packet socket it could add the group's
// hardware address (PACKET_ADD_MEMBERSHIP), which opens the NIC's filter alone. It is a socket for each, because several addresses can
// have one group, and the kernel counts who is in it.
func (s *socket) Join(group netip.Addr) (io.Closer, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	member := os.NewFile(uintptr(fd), "group")
	request := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(s.index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &request); err != nil {
		return nil, errors.Join(fmt.Errorf("joining %s: %w", group, err), member.Close())
	}
	return member, nil
}

// Close implements [Port].
func (s *socket) Close() error {
	s.closed.Store(true)
	return s.Conn.Close()
}

func linkError(err error) error {
	switch {
	case errors.Is(err, unix.ENETDOWN):
		return ErrLinkDown
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN): // of the link's queue, or of the socket
		return ErrBusy
	}
	return err
}

// Watch implements [Network]: the kernel's notifications say that something changed, a fresh look says what.
func (Sockets) Watch(ctx context.Context, changed func([]Link)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("watching links: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	defer func() { _ = file.Close() }()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return fmt.Errorf("watching links: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watching links: %w", err)
	}
	for {
		links, err := links()
		if err != nil {
			return err
		}
		changed(links)
		err = raw.Read(awaitNews)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watching links: %w", err)
		}
	}
}

// awaitNews reads everything there is and reports whether there was anything. Lost notifications are news too.
func awaitNews(fd uintptr) bool {
	var b [1 << 12]byte
	for any := false; ; any = true {
		switch _, err := unix.Read(int(fd), b[:]); err {
		case nil, unix.EINTR, unix.ENOBUFS:
		default:
			return any || err != unix.EAGAIN
		}
	}
}

func links() ([]Link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("reading links: %w", err)
	}
	out := make([]Link, 0, len(all))
	for _, ifi := range all {
		l := Link{Name: ifi.Name, Index: ifi.Index, Running: ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagRunning != 0}
		if len(ifi.HardwareAddr) == len(l.MAC) {
			l.MAC = MAC(ifi.HardwareAddr)
		}
		out = append(out, l)
	}
	return out, nil
}
