package datapath

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoDefault says that there is no default route.
var ErrNoDefault = errors.New("no default route")

// Default is a default route of the main table.
type Default struct {
	Link    string
	Gateway netip.Addr // invalid where there is none
	Metric  int
}

// Defaults returns the default routes of the main table: IPv4 first, each family by metric. The link of the first is the one
// that VIPs go to unless another is configured; the gateways are addresses that no VIP may have.
func Defaults() ([]Default, error) {
	var out []Default
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN, Dst: nil}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		if err != nil {
			return nil, fmt.Errorf("reading default routes: %w", err)
		}
		var found []Default
		for _, r := range routes {
			found = append(found, defaultsOf(r)...)
		}
		slices.SortStableFunc(found, func(a, b Default) int { return cmp.Compare(a.Metric, b.Metric) })
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, ErrNoDefault
	}
	return out, nil
}

// defaultsOf returns one default for each next hop of r.
func defaultsOf(r netlink.Route) []Default {
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	}
	var out []Default
	for _, h := range hops {
		l, err := net.InterfaceByIndex(h.LinkIndex)
		if err != nil {
			continue // a blackhole, or a link that went away meanwhile
		}
		d := Default{Link: l.Name, Metric: r.Priority}
		gateway := h.Gw
		if via, ok := h.Via.(*netlink.Via); ok && gateway == nil {
			gateway = via.Addr
		}
		if a, ok := netip.AddrFromSlice(gateway); ok {
			d.Gateway = a.Unmap()
		}
		out = append(out, d)
	}
	return out
}

// WatchDefaults calls changed with what [Defaults] returns, nothing where there is none: first at once, then whenever it has changed, until
// ctx ends; then it returns nil. It needs [Kernel.Run]: of IPv4 routes that end with their link or their address the kernel says
// nothing but that these did.
func (k *Kernel) WatchDefaults(ctx context.Context, changed func([]Default)) error {
	notes, err := openDefaults()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{}, 1)
	var reader sync.WaitGroup
	reader.Go(func() { notes.follow(ctx, told) })
	wake, stop := k.watch()
	defer func() {
		stop()
		cancel()
		reader.Wait()
		_ = notes.file.Close()
	}()
	k.followDefaults(ctx, told, wake, changed)
	return nil
}

// followDefaults calls changed at once, then whenever told or wake led to something else, until ctx ends.
func (k *Kernel) followDefaults(ctx context.Context, told, wake <-chan struct{}, changed func([]Default)) {
	var last []Default
	known := false
	for {
		now, err := k.defaults()
		var again <-chan time.Time
		switch {
		case err != nil: // such as a table that never stands still: what was known stays, and nothing that is held depends on it
			k.log.Warn("reading the default routes failed", "err", err)
			again = time.After(defaultsRetry)
		case !known || !slices.Equal(now, last):
			known, last = true, now
			changed(slices.Clone(now))
		}
		if !k.awaitDefaults(ctx, told, wake, again, last) {
			return
		}
	}
}

// defaultsRetry is how long after a failure the default routes are read again at the latest.
const defaultsRetry = 10 * time.Second

// awaitDefaults returns true when the default routes may be others than now, which are from before, and false when ctx ends.
func (k *Kernel) awaitDefaults(ctx context.Context, told, wake <-chan struct{}, again <-chan time.Time, now []Default) bool {
	before := k.footing(now)
	var settled <-chan time.Time
	for {
		select {
		case <-told:
			return true
		case <-again:
			return true
		case <-wake:
			// The kernel tells of a link or an address before it drops the routes.
			if settled == nil && k.footing(now) != before {
				timer := time.NewTimer(50 * time.Millisecond)
				defer timer.Stop()
				settled = timer.C
			}
		case <-settled:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// footing is what the routes of now depend on.
func (k *Kernel) footing(now []Default) string {
	text := ""
	for _, l := range k.Links() {
		if slices.ContainsFunc(now, func(d Default) bool { return d.Link == l.Name }) {
			text += fmt.Sprintln(l.Index, l.Name, l.Up, l.Own)
		}
	}
	return text
}

// defaults is [Defaults] where none is no error, and again where other routes changed while it read.
func (k *Kernel) defaults() (now []Default, err error) {
	for range 10 {
		if now, err = k.routes(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, ErrNoDefault) {
		return nil, nil
	}
	return now, err
}

// openDefaults returns a socket on which the kernel tells of every change of a default route of the main table, and of nothing
// else: a node may have very many routes.
func openDefaults() (*notifications, error) {
	fd, err := openNetlink(1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1))
	if err != nil {
		return nil, err
	}
	const bits, table = unix.NLMSG_HDRLEN + 1, unix.NLMSG_HDRLEN + 4 // of struct rtmsg (rtnetlink(7))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: bits},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: 0},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: table},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.RT_TABLE_MAIN},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	// Without the filter there is more to read, which does no harm.
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	return &notifications{file: os.NewFile(uintptr(fd), "netlink"), in: make([]byte, 16<<10)}, nil
}

// follow says in told that there was something to read, until ctx ends. What it says does not matter, so nor does what was lost.
func (n *notifications) follow(ctx context.Context, told chan<- struct{}) {
	defer context.AfterFunc(ctx, func() { _ = n.file.SetReadDeadline(time.Now()) })()
	for n.await() == nil && ctx.Err() == nil {
		_ = n.drain(func(event) {})
		select {
		case told <- struct{}{}:
		default:
		}
	}
}
