package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/sys/unix"
)

// Echo answers on the host with its name: "tcp" writes the name and closes, "udp"
// answers each datagram, "http" serves the name as a page. It stops with the
// returned function or the lab. The address must be numeric.
func (h *Host) Echo(network, address string) (stop func() error, err error) {
	switch network {
	case "udp":
		conn, err := h.ListenPacket("udp", address)
		if err != nil {
			return nil, err
		}
		udp := conn.(*net.UDPConn)
		if err := tellDestination(udp); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		go echoPackets(udp, h.name)
		return conn.Close, nil
	case "tcp":
		l, err := h.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		go echoStreams(l, h.name)
		return l.Close, nil
	case "http":
		l, err := h.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, h.name) // the client's loss
		})}
		server.SetKeepAlivesEnabled(false)
		go func() { _ = server.Serve(l) }() // ends with the listener
		return server.Close, nil
	}
	return nil, fmt.Errorf("echo over %q: want tcp, udp or http", network)
}

// tellDestination makes each datagram come with the address that it was sent to (ip(7), ipv6(7)).
func tellDestination(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		if errors.Is(failed, unix.ENOPROTOOPT) { // a socket for IPv4 alone
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	return errors.Join(err, failed)
}

// echoPackets answers from the address that was asked, as a client of one of several addresses wants it: what the kernel says
// of a question's destination is what it takes for an answer's source.
func echoPackets(conn *net.UDPConn, name string) {
	buf, control := make([]byte, 64), make([]byte, 128)
	for {
		_, n, _, from, err := conn.ReadMsgUDPAddrPort(buf, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _, _ = conn.WriteMsgUDPAddrPort([]byte(name), control[:n], from) // the client's loss
		}
	}
}

func echoStreams(l net.Listener, name string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, name) // the client's loss
		_ = conn.Close()
	}
}
