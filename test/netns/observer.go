package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Observer records every ARP and neighbour discovery frame that a host puts on
// its LAN, with the kernel's time stamp and the cable that it came from, and asks
// for addresses itself so that it can be told who answered when. A frame that a
// cut cable or Silence kept back is not seen (a cut one is never sent). It is safe
// for concurrent use.
type Observer struct {
	lan    *LAN
	socket *os.File
	done   chan struct{} // closed when the reader has ended

	mu      sync.Mutex // guards what follows
	seen    map[netip.Addr]History
	asked   map[netip.Addr]questions
	changed chan struct{} // closed and replaced when seen grows
}

// questions are those of the observer for one address.
type questions struct {
	every time.Duration
	at    []time.Time
}

func newObserver(lan *LAN) (*Observer, error) {
	o := &Observer{lan: lan, done: make(chan struct{}), seen: map[netip.Addr]History{}, asked: map[netip.Addr]questions{}, changed: make(chan struct{})}
	err := lan.ns.do(func() (err error) {
		o.socket, err = neighbourSocket()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("observing LAN %s: %w", lan.name, err)
	}
	go func() {
		defer close(o.done)
		o.read()
	}()
	return o, nil
}

// neighbourSocket hears ARP and neighbour discovery on all links of the caller's
// namespace, incoming frames only, time-stamped by the kernel.
func neighbourSocket() (*os.File, error) {
	// Protocol 0 hears nothing, so that no frame slips in before the filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening packet socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "observer")
	filter, err := neighbourFilter()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
	)
	if errors.Is(err, unix.EPERM) { // the buffer may not be forced in a user namespace
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up packet socket: %w", err), f.Close())
	}
	return f, nil
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

// read records frames until the socket is closed.
func (o *Observer) read() {
	conn, err := o.socket.SyscallConn()
	if err != nil {
		return
	}
	frame, control := make([]byte, 2048), make([]byte, 256)
	for {
		var n, nc int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, nc, _, from, failed = unix.Recvmsg(int(fd), frame, control, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if failed != nil || !ok {
			continue // a link went down; the socket goes on
		}
		if p := o.lan.portAt(link.Ifindex); p != nil {
			if a, ok := parseFrame(frame[:n]); ok {
				a.Host, a.At = p.host.name, timestamp(control[:nc])
				o.record(a)
			}
		}
	}
}

// timestamp reads the kernel's time stamp of a frame.
func timestamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(syscall.Timespec{})) {
				at := (*syscall.Timespec)(unsafe.Pointer(&m.Data[0]))
				return time.Unix(at.Sec, at.Nsec)
			}
		}
	}
	return time.Now()
}

func (o *Observer) record(a Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[a.Addr] = append(o.seen[a.Addr], a)
	close(o.changed)
	o.changed = make(chan struct{})
}

// History is what was seen of the address from that moment on. The zero time is
// the beginning.
func (o *Observer) History(addr netip.Addr, since time.Time) History {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[addr].only(func(a Answer) bool { return !a.At.Before(since) })
}

// Answers is the part of History that are replies and announcements.
func (o *Observer) Answers(addr netip.Addr, since time.Time) History {
	return o.History(addr, since).Answers()
}

// Silence is how long nobody answered for an address between two moments.
type Silence struct {
	// Longest is as of LongestSilence, less what of it is Unasked, which is Excused. From is when it began.
	Longest time.Duration
	Excused time.Duration
	From    time.Time
	// Unasked is how long altogether the observer was to ask (Ask) and did not: a busy
	// machine does not always let it, which is nobody's silence.
	Unasked time.Duration
}

// Silence is the longest between two moments. Of an address that it never asked for all is silence.
func (o *Observer) Silence(addr netip.Addr, from, to time.Time) Silence {
	pauses := o.pauses(addr, from, to)
	longest := longestGap(o.Answers(addr, from).moments(), from, to, pauses)
	return Silence{Longest: longest.long, Excused: longest.excused, From: longest.from, Unasked: span{from, to}.covered(pauses)}
}

// Overlap is LongestOverlap of what was seen between two moments. It is never the shorter for a time in which nobody asked.
func (o *Observer) Overlap(addr netip.Addr, from, to time.Time, tolerance time.Duration) time.Duration {
	return o.OverlapOf("", addr, from, to, tolerance)
}

// OverlapOf is Overlap as far as host is one of the two; "" is any.
func (o *Observer) OverlapOf(host string, addr netip.Addr, from, to time.Time, tolerance time.Duration) time.Duration {
	return o.History(addr, from).Between(from, to).longestOverlap(tolerance, o.pauses(addr, from, to), host)
}

// Unfounded is that of what was seen between two moments, by answers to the observer's own questions.
func (o *Observer) Unfounded(host string, addr netip.Addr, from, to time.Time) History {
	return o.History(addr, from).Between(from, to).Unfounded(host, o.lan.bridge.HardwareAddr)
}

func (o *Observer) pauses(addr netip.Addr, from, to time.Time) []span {
	o.mu.Lock()
	asked := o.asked[addr]
	o.mu.Unlock()
	return pauses(asked.at, asked.every, from, to)
}

// asks takes note of a question that is about to be asked.
func (o *Observer) asks(addr netip.Addr, every time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[addr] = questions{every, append(o.asked[addr].at, time.Now())}
}

func (o *Observer) close() error {
	err := o.socket.Close()
	<-o.done
	return err
}
