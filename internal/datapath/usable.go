package datapath

import (
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// usableAfter bounds how long is waited for the kernel's work queue.
const usableAfter = 200 * time.Millisecond

// awaitUsable waits until the kernel takes what is sent to each of made for its own, for usableAfter at most; it returns one that it
// doesn't take by then, if any. It adds the route to a new IPv6 address only when its work queue has run, some time after the request
// was answered (addrconf_dad_work in net/ipv6/addrconf.c, also for addresses without duplicate address detection): what clients
// send there before is lost, so that nobody may be told of the address. Nothing else tells of that: the news of the address comes
// before the route, and those of routes would be those of all.
func awaitUsable(made []slot) (late netip.Addr) {
	end := time.Now().Add(usableAfter)
	for _, at := range made {
		if at.addr.Is4() {
			continue // its route is there at once
		}
		for wait := 100 * time.Microsecond; !isLocal(at); wait *= 2 {
			left := time.Until(end)
			if left <= 0 {
				return at.addr
			}
			timer := time.NewTimer(min(wait, left))
			<-timer.C
		}
	}
	return netip.Addr{}
}

// isLocal reports whether the kernel takes what is sent to the address for its own. Of a link in a VRF, or with rules of its own, the
// route is in another table, where it is looked for when the link is named.
func isLocal(at slot) bool {
	for _, way := range []*netlink.RouteGetOptions{nil, {OifIndex: at.index}} {
		routes, err := netlink.RouteGetWithOptions(at.addr.AsSlice(), way)
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return true
		}
	}
	return false
}
