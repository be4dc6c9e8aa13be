package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Wait returns the first frame about the address at or after that moment which
// satisfies want, waiting for it if need be; nil wants any reply or announcement.
func (o *Observer) Wait(ctx context.Context, addr netip.Addr, since time.Time, want func(Answer) bool) (Answer, error) {
	if want == nil {
		want = Answer.claims
	}
	for {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		if found := o.History(addr, since).only(want); len(found) > 0 {
			return found[0], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("waiting for a frame about %s on LAN %s: %w", addr, o.lan.name, ctx.Err())
		}
	}
}

// FromHost is a condition for Wait: a reply or announcement by that host.
func FromHost(name string) func(Answer) bool {
	return func(a Answer) bool { return a.claims() && a.Host == name }
}

// Claim makes the host say once that it has the address, whether that is so or not, as a machine does whose owner gave it an
// address that is in use: a gratuitous ARP request, or an unsolicited neighbour advertisement that overrides.
func (h *Host) Claim(addr netip.Addr) error {
	mac := h.MAC()
	frame := neighbourAdvertisement(mac, addr)
	if addr.Is4() {
		frame = arpRequest(mac, addr, addr)
	}
	return h.Do(func() error {
		link, err := net.InterfaceByName(h.lans[0].portOf(h).link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening socket to claim %s: %w", addr, err)
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6})
	})
}

// Ask asks the LAN for the address, by broadcast ARP request or multicast
// neighbour solicitation, now and every period until stop is called. The question
// comes from a host of its own, number 2 of the LAN, so that it never looks like
// duplicate address detection.
func (o *Observer) Ask(addr netip.Addr, every time.Duration) (stop func(), err error) {
	mac := o.lan.bridge.HardwareAddr
	frame := neighbourSolicitation(mac, netip.MustParseAddr("fe80::da"), addr)
	if addr.Is4() {
		frame = arpRequest(mac, o.lan.Addr(observerHost), addr)
	}
	fd := -1
	err = o.lan.ns.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening socket to ask for %s: %w", addr, err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: o.lan.bridge.Index, Halen: 6}
	o.asks(addr, every)
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		return nil, errors.Join(fmt.Errorf("asking for %s: %w", addr, err), unix.Close(fd))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fd)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				o.asks(addr, every)
				_ = unix.Sendto(fd, frame, 0, to) // a lost question is a silence, which is what is measured
			}
		}
	}()
	return func() { cancel(); <-done }, nil
}
