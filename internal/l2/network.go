package l2

import (
	"context"
	"errors"
	"io"
	"net/netip"
)

// Family is the protocol whose neighbours a port speaks to.
type Family string

const (
	// IPv4 neighbours are found by ARP (RFC 826).
	IPv4 Family = "ARP"
	// IPv6 neighbours are found by NDP (RFC 4861).
	IPv6 Family = "NDP"
)

func familyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// Network is where frames go and come from. [Sockets] is the real one; tests bring their own.
type Network interface {
	// Open returns a port on a link. Where the link has no neighbours, as the loopback or a tunnel, it fails with
	// [ErrNoNeighbours].
	Open(link string, family Family) (Port, error)
	// Watch calls changed with every link, at once and after each change, until ctx ends; then it returns nil. It never calls it after it
	// has returned. After an error it may be called again; one that wraps [io/fs.ErrPermission] won't get better.
	Watch(ctx context.Context, changed func([]Link)) error
}

// Port sends and receives whole Ethernet frames of one family on one link. Its methods may be called concurrently.
type Port interface {
	// MAC is the link's own address.
	MAC() MAC
	// Send puts one frame on the wire now or fails; it never waits. [ErrLinkDown] and [ErrBusy] cost this frame alone; every other
	// error means that the port is of no more use.
	Send(frame []byte) error
	// Receive waits for a foreign frame and returns its size. After Close it fails with net.ErrClosed. While the link is
	// down it may fail with [ErrLinkDown]; every other error means that the port is of no more use.
	Receive(frame []byte) (int, error)
	// Join lets in what is sent to an IPv6 group, past NICs and switches that filter multicast, until what it returns is closed;
	// Close doesn't end that. It may wait for the kernel.
	Join(group netip.Addr) (io.Closer, error)
	Close() error
}

// Link is what the announcer must know of a link.
type Link struct {
	Name    string
	Index   int
	MAC     MAC
	Running bool // up, and the other end is there
}

var (
	// ErrNoNeighbours says that a link has no neighbours to announce to.
	ErrNoNeighbours = errors.New("link has no neighbours")
	// ErrLinkDown says that a link is down.
	ErrLinkDown = errors.New("link is down")
	// ErrBusy says that a link has no room for a frame just now.
	ErrBusy = errors.New("link is busy")
	// ErrNotRunning says that nothing is heard because [Announcer.Run] isn't running.
	ErrNotRunning = errors.New("announcer is not running")
)
