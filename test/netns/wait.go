package netns

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// WaitAddr returns once the host's kernel has the address, on any link.
func (h *Host) WaitAddr(ctx context.Context, addr netip.Addr) error {
	return h.waitAddrs(ctx, fmt.Sprintf("%s to be on %s", addr, h.name), func() (bool, error) { return h.Has(addr) })
}

// WaitNoAddr returns once no link of the host has the address.
func (h *Host) WaitNoAddr(ctx context.Context, addr netip.Addr) error {
	return h.waitAddrs(ctx, fmt.Sprintf("%s to leave %s", addr, h.name), func() (bool, error) {
		has, err := h.Has(addr)
		return !has, err
	})
}

// waitAddrs asks again at each change of the host's addresses.
func (h *Host) waitAddrs(ctx context.Context, what string, ok func() (bool, error)) error {
	changes, stop := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	err := h.Do(func() error {
		return netlink.AddrSubscribeWithOptions(changes, stop, netlink.AddrSubscribeOptions{})
	})
	if err != nil {
		return fmt.Errorf("subscribing to addresses of %s: %w", h.name, err)
	}
	defer func() {
		close(stop)
		for range changes { // so that the subscription is not stuck sending
		}
	}()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case _, open := <-changes:
			if !open {
				return fmt.Errorf("waiting for %s: the subscription ended", what)
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

func mkdir(path string) error { return os.MkdirAll(path, 0o755) }
