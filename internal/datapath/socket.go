package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errOverrun says that the kernel had more to tell than the socket could hold: what is true must be read anew.
var errOverrun = errors.New("notifications were lost")

// requests is a socket on which changes are asked for, many in one system call.
type requests struct {
	fd       int
	port     uint32 // the socket's address, which the kernel names in what it tells of changes that were asked for here
	seq      uint32
	extended bool
	out, in  []byte
}

// batch is how many requests go into one system call; the answers must fit the socket's receive buffer.
const batch = 128

func openNetlink(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("opening a netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return -1, errors.Join(fmt.Errorf("binding a netlink socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func openRequests() (*requests, error) {
	fd, err := openNetlink(0)
	if err != nil {
		return nil, err
	}
	r := &requests{fd: fd, in: make([]byte, 64<<10)}
	if at, err := unix.Getsockname(fd); err == nil {
		if nl, ok := at.(*unix.SockaddrNetlink); ok {
			r.port = nl.Pid
		}
	}
	r.extended = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1) == nil
	return r, nil
}

// change asks the kernel for every op in order and returns, for each, nil or why it failed. The second answer is an error of
// the socket itself, after which the fate of the later ops isn't known.
//
// The kernel answers every request of a batch before sendmsg returns, failures always and successes only on demand, so the
// last of each batch demands.
func (r *requests) change(ops []op) ([]error, error) {
	results := make([]error, len(ops))
	for done := 0; done < len(ops); {
		n := min(batch, len(ops)-done)
		first := r.seq + 1
		r.out = r.out[:0]
		for i, o := range ops[done : done+n] {
			var flags uint16
			if !o.remove {
				flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
			}
			if i == n-1 {
				flags |= unix.NLM_F_ACK
			}
			r.seq++
			r.out = appendAddress(r.out, o, flags, r.seq)
		}
		if err := r.exchange(func(m message) (bool, error) {
			i := int(m.seq - first)
			if m.kind != unix.NLMSG_ERROR || i < 0 || i >= n {
				return false, nil // a late answer to something given up
			}
			results[done+i] = parseResult(m.payload, r.extended)
			return i == n-1, nil
		}); err != nil {
			return results, err
		}
		done += n
	}
	return results, nil
}

// dump reads every link, then every address. Where others change something meanwhile the kernel may leave out what nobody touched
// (NLM_F_DUMP_INTR): then all is read again and added to what was read before. What went away in between is in the notifications.
func (r *requests) dump() (events []event, err error) {
	for range 10 {
		var interrupted bool
		if events, interrupted, err = r.dumpOnce(events); err != nil || !interrupted {
			break
		}
	}
	return events, err
}

func (r *requests) dumpOnce(events []event) (_ []event, interrupted bool, err error) {
	for _, kind := range []uint16{unix.RTM_GETLINK, unix.RTM_GETADDR} {
		r.seq++
		r.out = appendDump(r.out[:0], kind, r.seq)
		err := r.exchange(func(m message) (bool, error) {
			if m.seq != r.seq {
				return false, nil
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE:
				return true, nil
			case unix.NLMSG_ERROR:
				return true, parseResult(m.payload, r.extended)
			}
			if ev, ok, err := parseEvent(m, time.Now()); ok && err == nil {
				events = append(events, ev)
			}
			return false, nil
		})
		if err != nil {
			return nil, false, fmt.Errorf("reading links and addresses: %w", err)
		}
	}
	return events, interrupted, nil
}

// exchange sends what is in out and gives every answer to take until that says it is done.
func (r *requests) exchange(take func(message) (done bool, err error)) error {
	if _, err := unix.Write(r.fd, r.out); err != nil { // to the kernel, where a socket that isn't connected speaks to
		return fmt.Errorf("asking the kernel: %w", err)
	}
	for {
		n, err := unix.Read(r.fd, r.in)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if err := awaitReadable(r.fd); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("reading the kernel's answer: %w", err)
		}
		for rest := r.in[:n]; len(rest) > 0; {
			var m message
			if m, rest, err = nextMessage(rest); err != nil {
				return err
			}
			if done, err := take(m); done || err != nil {
				return err
			}
		}
	}
}

// awaitReadable waits for an answer that the kernel owes: it comes within the second even on a starved machine.
func awaitReadable(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(5*time.Second/time.Millisecond))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("waiting for the kernel's answer: %w", err)
		case n == 0:
			return errors.New("waiting for the kernel's answer: none within 5s")
		}
		return nil
	}
}

// notifications is a socket on which the kernel tells, in order, every change of a link or an address, save what its answers to
// requests have told already.
type notifications struct {
	file *os.File
	in   []byte
}

// openNotifications leaves out what was asked for on the socket of that port.
func openNotifications(port uint32) (*notifications, error) {
	fd, err := openNetlink(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
	if err != nil {
		return nil, err
	}
	// Room for some thousand notifications; without the right to more than the system's limit, for that.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	// Without the filter everything is told twice, which does no harm.
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, unanswered(port))
	return &notifications{file: os.NewFile(uintptr(fd), "netlink"), in: make([]byte, 64<<10)}, nil
}

// unanswered drops the news of addresses that were added or renewed on the socket of that port: of a thousand that are renewed
// each second it would be a thousand times. The kernel gives the port for IPv4 alone (nlmsg_pid of struct nlmsghdr).
func unanswered(port uint32) *unix.SockFprog {
	swapped := func(b ...byte) (v uint32) { // filters read in network order what the header has in the host's
		for _, x := range b {
			v = v<<8 | uint32(x)
		}
		return v
	}
	kind := binary.NativeEndian.AppendUint16(nil, unix.RTM_NEWADDR)
	from := binary.NativeEndian.AppendUint32(nil, port)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: swapped(kind...)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: swapped(from...)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
	}
	return &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
}

// await blocks until there is something to read, or the file's deadline has passed, or it is closed.
func (n *notifications) await() error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, 0)
		return err == nil && ready > 0
	})
}

// drain gives what there is to read to take, without blocking. [errOverrun] means that some is missing: until the rest was read the
// kernel tells of nothing more (NETLINK_S_CONGESTED, net/netlink/af_netlink.c), so that what is true is read anew after that.
func (n *notifications) drain(take func(event)) error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) { result = n.drainFd(int(fd), take) })
	return errors.Join(err, result)
}

func (n *notifications) drainFd(fd int, take func(event)) error {
	var overrun error
	for {
		size, err := unix.Read(fd, n.in)
		switch {
		case err == unix.EAGAIN:
			return overrun
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			overrun = errOverrun
			continue
		case err != nil:
			return fmt.Errorf("reading notifications: %w", err)
		}
		now := time.Now()
		for rest := n.in[:size]; len(rest) > 0; {
			var m message
			if m, rest, err = nextMessage(rest); err != nil {
				return err
			}
			// What can't be read (an address family of another kind) isn't ours.
			if ev, ok, err := parseEvent(m, now); ok && err == nil {
				take(ev)
			}
		}
	}
}
