package datapath

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
)

// Link is a network interface as the kernel last told of it.
type Link struct {
	Name     string
	Index    int
	MAC      net.HardwareAddr // nil where it has none; not to be changed
	Up       bool             // administratively
	Carrier  bool             // the other end is there
	Loopback bool
	NoARP    bool // nobody asks it for an address by ARP or NDP: a tunnel, or a dummy
	// Own are the node's own addresses, with their prefix lengths, in order. No VIP may be one of them.
	Own []netip.Prefix
	// Agents are the addresses, in order, of other agents that live, or lived since we opened. No Service may have one of them.
	Agents []netip.Prefix
	// Left are the addresses, in order, that a predecessor seems to have left: they are adopted when they are wanted. A
	// node's own permanent address of full length looks just so; whoever lets others choose addresses should see that they
	// were given it before.
	Left []netip.Prefix
}

// Usable reports whether the link can carry traffic.
func (l Link) Usable() bool { return l.Up && l.Carrier }

func (l Link) equal(m Link) bool {
	return l.Name == m.Name && l.Index == m.Index && bytes.Equal(l.MAC, m.MAC) &&
		l.Up == m.Up && l.Carrier == m.Carrier && l.Loopback == m.Loopback && l.NoARP == m.NoARP
}

// Links returns every link, in order of their names.
func (k *Kernel) Links() []Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.ownLinks()
}

func (s *state) ownLinks() []Link {
	own, left, agents := map[int][]netip.Prefix{}, map[int][]netip.Prefix{}, map[int][]netip.Prefix{}
	for at, entries := range s.addrs {
		for _, e := range entries {
			switch {
			case s.another(e):
				agents[at.index] = append(agents[at.index], e.prefix)
			case s.own(e):
				own[at.index] = append(own[at.index], e.prefix)
			case s.left(e):
				left[at.index] = append(left[at.index], e.prefix)
			}
		}
	}
	links := make([]Link, 0, len(s.links))
	for index, l := range s.links {
		l.Own, l.Left, l.Agents = own[index], left[index], agents[index]
		slices.SortFunc(l.Own, netip.Prefix.Compare)
		slices.SortFunc(l.Left, netip.Prefix.Compare)
		slices.SortFunc(l.Agents, netip.Prefix.Compare)
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	return links
}

// WatchLinks calls changed with every link, first at once, then after each change of a link, of the node's own addresses or of other agents',
// until ctx ends; then it returns nil. Changes that come while changed is busy are told in one call. Changes are noticed by
// [Kernel.Run] and [Kernel.Set].
func (k *Kernel) WatchLinks(ctx context.Context, changed func([]Link)) error {
	wake, stop := k.watch()
	defer stop()
	for {
		changed(k.Links())
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}

// watch returns what tells of changes of links and of the node's own addresses, until stop.
func (k *Kernel) watch() (wake chan struct{}, stop func()) {
	wake = make(chan struct{}, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watchers[wake] = struct{}{}
	return wake, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.watchers, wake)
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
