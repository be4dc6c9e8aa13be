package route

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (t *Table) route(k key) (*netlink.Route, error) {
	r := &netlink.Route{
		Dst:      &net.IPNet{IP: k.prefix.Addr().AsSlice(), Mask: net.CIDRMask(k.prefix.Bits(), k.prefix.Addr().BitLen())},
		Table:    t.cfg.Table,
		Protocol: netlink.RouteProtocol(t.cfg.Protocol),
		Type:     t.cfg.Type,
	}
	if k.link == "" {
		return r, nil
	}
	if t.cfg.Type == unix.RTN_LOCAL {
		r.Scope = unix.RT_SCOPE_HOST
	}
	link, err := netlink.LinkByName(k.link)
	if err != nil {
		return nil, err
	}
	r.LinkIndex = link.Attrs().Index
	return r, nil
}

// loadLocked reads which of our routes are there.
func (t *Table) loadLocked() error {
	have, names := map[key]bool{}, map[int]string{}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("reading links: %w", err)
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	filter := &netlink.Route{Table: t.cfg.Table, Protocol: netlink.RouteProtocol(t.cfg.Protocol), Type: t.cfg.Type}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TYPE)
		if err != nil {
			return fmt.Errorf("reading routes: %w", err)
		}
		for _, r := range routes {
			if k, ok := t.read(r, names); ok {
				have[k] = true
			}
		}
	}
	t.have = have
	for k := range t.stale {
		if !have[k] {
			delete(t.stale, k)
		}
	}
	return nil
}

// read returns the key of a route of ours; ok is false for one of a kind that we don't make.
func (t *Table) read(r netlink.Route, names map[int]string) (k key, ok bool) {
	if r.Dst == nil || len(r.MultiPath) > 0 || r.Gw != nil {
		return key{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	if !ok {
		return key{}, false
	}
	ones, _ := r.Dst.Mask.Size()
	k = key{prefix: netip.PrefixFrom(addr.Unmap(), ones)}
	switch t.cfg.Type {
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT: // IPv6 has them on the loopback link
	default:
		k.link = names[r.LinkIndex]
	}
	return k, true
}
