package datapath

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network interface as the kernel last told of it.
type Link struct {
	Name     string
	Index    int
	MAC      net.HardwareAddr // nil where it has none; not to be changed
	Up       bool             // administratively
	Carrier  bool             // the other end is there
	Loopback bool
	// Own are the node's own addresses, with their prefix lengths, in order. No VIP may be one of them.
	Own []netip.Prefix
	// Left are the addresses, in order, that a predecessor seems to have left: they are adopted when they are wanted. A
	// node's own permanent address of full length looks just so; whoever lets others choose addresses should see that they
	// were given it before.
	Left []netip.Prefix
}

// Usable reports whether the link can carry traffic.
func (l Link) Usable() bool { return l.Up && l.Carrier }

func (l Link) equal(m Link) bool {
	return l.Name == m.Name && l.Index == m.Index && bytes.Equal(l.MAC, m.MAC) &&
		l.Up == m.Up && l.Carrier == m.Carrier && l.Loopback == m.Loopback
}

// Links returns every link, in order of their names.
func (k *Kernel) Links() []Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.ownLinks()
}

func (s *state) ownLinks() []Link {
	own, left := map[int][]netip.Prefix{}, map[int][]netip.Prefix{}
	for at, entries := range s.addrs {
		for _, e := range entries {
			switch {
			case s.own(e):
				own[at.index] = append(own[at.index], e.prefix)
			case s.left(e):
				left[at.index] = append(left[at.index], e.prefix)
			}
		}
	}
	links := make([]Link, 0, len(s.links))
	for index, l := range s.links {
		l.Own, l.Left = own[index], left[index]
		slices.SortFunc(l.Own, netip.Prefix.Compare)
		slices.SortFunc(l.Left, netip.Prefix.Compare)
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	return links
}

// WatchLinks calls changed with every link, first at once, then after each change of a link or of the node's own addresses,
// until ctx ends; then it returns nil. Changes that come while changed is busy are told in one call. Changes are noticed by
// [Kernel.Run] and [Kernel.Set].
func (k *Kernel) WatchLinks(ctx context.Context, changed func([]Link)) error {
	wake := make(chan struct{}, 1)
	k.mu.Lock()
	k.watchers[wake] = struct{}{}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.watchers, wake)
		k.mu.Unlock()
	}()
	for {
		changed(k.Links())
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}

func (k *Kernel) wakeLocked() {
	for wake := range k.watchers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// LinkFor returns the link on whose subnet addr lies, by the longest prefix among the nodes' own addresses: what `auto` means
// for a Service's link. Loopback links and addresses of full length have no subnet.
func LinkFor(links []Link, addr netip.Addr) (Link, bool) {
	var best Link
	bits := -1
	for _, l := range links {
		for _, p := range l.Own {
			if !l.Loopback && !p.IsSingleIP() && p.Contains(addr) && p.Bits() > bits {
				best, bits = l, p.Bits()
			}
		}
	}
	return best, bits >= 0
}

// PrefixOn returns addr with the prefix length of link's own subnet that it lies on: what `auto` means for prefix lengths.
// Where it lies on none, it gets its full length.
func PrefixOn(link Link, addr netip.Addr) netip.Prefix {
	bits := -1
	for _, p := range link.Own {
		if p.Contains(addr) && p.Bits() > bits {
			bits = p.Bits()
		}
	}
	if bits < 0 {
		bits = addr.BitLen()
	}
	return netip.PrefixFrom(addr, bits)
}

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
