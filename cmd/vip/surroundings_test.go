package main_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vip "daymark/cmd/vip"
	"daymark/internal/agent"
	"daymark/internal/datapath"
)

func TestSurroundings(t *testing.T) {
	var told string
	s := vip.NewSurroundings("n1", func(now agent.Surroundings) {
		var lines []string
		for _, r := range now.Reserved {
			lines = append(lines, fmt.Sprintf("%s is %s", r.Prefix, r.What))
		}
		for _, n := range now.Subnets {
			lines = append(lines, fmt.Sprintf("%s has %s", n.Link, n.Prefix))
		}
		told = strings.Join(lines, ", ")
	})
	links := func(up bool, own ...string) []datapath.Link {
		l := datapath.Link{Name: "eth0", Up: up, Carrier: up}
		for _, p := range own {
			l.Own = append(l.Own, netip.MustParsePrefix(p))
		}
		return []datapath.Link{
			l, {Name: "kube-ipvs0", NoARP: true, Own: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")}},
			{Name: "lo", Loopback: true, Own: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("203.0.113.1/32")}},
		}
	}
	const lo = "127.0.0.1/32 is an address of node n1 itself"
	const four, six = "192.0.2.2/32 is an address of node n1 itself", "2001:db8::2/128 is an address of node n1 itself"
	const net4, net6 = "eth0 has 192.0.2.2/24", "eth0 has 2001:db8::2/64"
	expect := func(what string, lines ...string) {
		t.Helper()
		if d := cmp.Diff(strings.Join(lines, ", "), told); d != "" {
			t.Error(what, d)
		}
	}
	s.SetLinks(links(true, "192.0.2.2/24", "2001:db8::2/64", "fe80::2/64"))
	expect("addresses of the node, not of links and not of Services", four, six, lo, net4, net6)
	s.SetDefaults([]datapath.Default{{Link: "eth0", Gateway: netip.MustParseAddr("192.0.2.1")}, {Link: "tun0"}})
	expect("a gateway", "192.0.2.1/32 is the default gateway on eth0", four, six, lo, net4, net6)
	s.SetDefaults(nil)
	others := links(true, "192.0.2.2/24", "2001:db8::2/64")
	others[0].Agents, others[2].Agents = []netip.Prefix{netip.MustParsePrefix("192.0.2.40/24")}, []netip.Prefix{netip.MustParsePrefix("203.0.113.40/32")}
	s.SetLinks(others)
	expect("another agent's on any link, and no network by them", four, six, "192.0.2.40/32 is held by another agent on node n1", lo,
		"203.0.113.40/32 is held by another agent on node n1", net4, net6)
	s.SetLinks(links(false, "192.0.2.2/24"))
	expect("a link that is down is still where it was", four, lo, net4, net6)
	s.SetLinks(links(false, "192.0.2.2/24"))
	expect("and goes on", four, lo, net4, net6)
	s.SetLinks(links(true, "192.0.2.2/24"))
	expect("until it is up", four, lo, net4)
}
