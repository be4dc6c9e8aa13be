package netns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddr adds an address to a link of the host, usable at once (without
// duplicate address detection).
func (h *Host) AddAddr(addr netip.Prefix, link string) error {
	l, err := h.netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("finding %s on %s: %w", link, h.name, err)
	}
	a := &netlink.Addr{IPNet: ipNet(addr)}
	if addr.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := h.netlink.AddrReplace(l, a); err != nil {
		return fmt.Errorf("adding %s to %s on %s: %w", addr, link, h.name, err)
	}
	return nil
}

// DelAddr removes an address from a link of the host.
func (h *Host) DelAddr(addr netip.Prefix, link string) error {
	l, err := h.netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("finding %s on %s: %w", link, h.name, err)
	}
	if err := h.netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("removing %s from %s on %s: %w", addr, link, h.name, err)
	}
	return nil
}

// Addrs are the addresses in the host's kernel now, sorted, on all links or only
// those named. Loopback's own and link-local ones are left out.
func (h *Host) Addrs(links ...string) ([]netip.Prefix, error) {
	all, err := h.netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", h.name, err)
	}
	names := map[int]string{}
	have, err := h.netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing links of %s: %w", h.name, err)
	}
	for _, l := range have {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []netip.Prefix
	for _, a := range all {
		addr, _ := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		bits, _ := a.Mask.Size()
		if addr.IsLoopback() || addr.IsLinkLocalUnicast() || len(links) > 0 && !slices.Contains(links, names[a.LinkIndex]) {
			continue
		}
		out = append(out, netip.PrefixFrom(addr, bits))
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out, nil
}

// Has says whether the address is in the host's kernel now, on any link.
func (h *Host) Has(addr netip.Addr) (bool, error) {
	addrs, err := h.Addrs()
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == addr }), err
}

// AddRoute adds or replaces a route of the host's main table.
func (h *Host) AddRoute(dst netip.Prefix, via netip.Addr) error {
	route := &netlink.Route{Dst: ipNet(dst.Masked()), Gw: via.AsSlice()}
	if err := h.netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("adding route to %s via %s on %s: %w", dst, via, h.name, err)
	}
	return nil
}

// Forward makes the host a router for both families.
func (h *Host) Forward() error {
	return h.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
