package bgp

import (
	"fmt"
	"net"
	"net/netip"
)

func isIPv4(a netip.Addr) bool { return a.Is4() }
func isIPv6(a netip.Addr) bool { return a.Is6() }

// linkAddr returns the first address on a link that fits, leaving out link-local and loopback ones. The kernel lists
// an older address first, so that it is none that came with a Service.
func linkAddr(name string, fits func(netip.Addr) bool) (netip.Addr, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("looking up link %s: %w", name, err)
	}
	addrs, err := link.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses of link %s: %w", name, err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		addr := prefix.Addr().Unmap()
		if !addr.IsLinkLocalUnicast() && !addr.IsLoopback() && fits(addr) {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("link %s: %w", name, errNoAddress)
}

// linkOf returns the name of the link that has addr.
func linkOf(addr netip.Addr) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("listing links: %w", err)
	}
	for _, link := range links {
		if _, err := linkAddr(link.Name, func(a netip.Addr) bool { return a == addr }); err == nil {
			return link.Name, nil
		}
	}
	return "", errNoAddress
}

// bothFamilies returns the first address of each family on a link, invalid ones where there is none.
func bothFamilies(link string) (ipv4, ipv6 netip.Addr) {
	ipv4, _ = linkAddr(link, isIPv4)
	ipv6, _ = linkAddr(link, isIPv6)
	return ipv4, ipv6
}
