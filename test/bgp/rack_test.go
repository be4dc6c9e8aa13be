package bgp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// service is the address that the nodes of a rack announce.
const service = "192.0.2.10/32"

// rack is a client behind a router, and nodes on the router's other side that all hold the service's address and answer for it with their names.
type rack struct {
	t              *testing.T
	client, router *netns.Host
	nodes          []*netns.Host
	speakers       []*speaker
	frr            *frr
}

// neighbor is a line of FRR's configuration for each node, after "neighbor <address> ".
func newRack(t *testing.T, nodes int, neighbor ...string) *rack {
	t.Helper()
	lab := netns.Test(t)
	outer, inner := require.Value(lab.AddLAN("outer"))(t), require.Value(lab.AddLAN("rack"))(t)
	r := &rack{t: t, client: require.Value(lab.AddHost("client", outer))(t), router: require.Value(lab.AddHost("router", outer, inner))(t)}
	config := "router bgp 65001\n no bgp ebgp-requires-policy\n bgp bestpath as-path multipath-relax\n"
	for i := range nodes {
		n := require.Value(lab.AddHost(fmt.Sprintf("n%d", i+1), inner))(t)
		require.NoError(t, n.AddAddr(netip.MustParsePrefix(service), "lo"))
		require.NoError(t, n.AddRoute(outer.Prefixes()[0], r.router.AddrOn(inner)))
		require.Value(n.Echo("udp", "192.0.2.10:7"))(t)
		config += fmt.Sprintf(" neighbor %s remote-as 65000\n", n.Addr())
		for _, line := range neighbor {
			config += fmt.Sprintf(" neighbor %s %s\n", n.Addr(), line)
		}
		r.nodes = append(r.nodes, n)
	}
	require.NoError(t, r.client.AddRoute(netip.MustParsePrefix("192.0.2.0/24"), r.router.AddrOn(outer)))
	require.NoError(t, r.router.Sysctl("net.ipv4.fib_multipath_hash_policy=1"))
	r.frr = startFRR(t, r.router, config)
	return r
}

// routerAddr is the router's address on the rack's side.
func (r *rack) routerAddr() string {
	addrs := require.Value(r.router.Addrs("eth1"))(r.t)
	i := slices.IndexFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is4() })
	return addrs[i].Addr().String()
}

// start starts a speaker on each node and waits for the router to use all of them.
func (r *rack) start(c settings) {
	r.t.Helper()
	for _, n := range r.nodes {
		s := startSpeaker(r.t, n)
		s.set(addr(service))
		s.configure(c)
		r.speakers = append(r.speakers, s)
	}
	r.uses(len(r.nodes))
}

// uses waits until the router's kernel sends to that many nodes.
func (r *rack) uses(nodes int) {
	r.t.Helper()
	eventually(r.t, 30*time.Second, fmt.Sprintf("the router uses %d nodes", nodes), func() bool { return r.hops() == nodes })
}

func (r *rack) hops() int {
	list, err := r.router.Netlink().RouteList(nil, 2)
	require.NoError(r.t, err)
	for _, route := range list {
		if route.Dst == nil || route.Dst.String() != service {
			continue
		}
		return max(1, len(route.MultiPath))
	}
	return 0
}

func (r *rack) probe() *netns.Prober {
	return netns.StartProber(netns.Probe{From: r.client, Network: "udp", To: netip.MustParseAddrPort("192.0.2.10:7"), Timeout: 500 * time.Millisecond})
}
