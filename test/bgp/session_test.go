package bgp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"daymark/internal/vip"
	"daymark/test/netns"
	"daymark/test/require"
)

// pairWithFRR is a node and a router on one LAN; lines are FRR's configuration of the node as neighbour, with {4} and {6} for its addresses.
func pairWithFRR(t *testing.T, lines ...string) (*netns.Host, *netns.Host, *frr) {
	t.Helper()
	lab, _ := netns.Lan(t, "node", "router")
	node, router := lab.Host("node"), lab.Host("router")
	config := strings.NewReplacer("{4}", node.Addr().String(), "{6}", node.Addr6().String()).Replace(strings.Join(lines, "\n"))
	return node, router, startFRR(t, router, "router bgp 65001\n no bgp ebgp-requires-policy\n"+config+"\n")
}

func TestPasswordAndBothFamilies(t *testing.T) {
	t.Parallel()
	node, router, f := pairWithFRR(t,
		" neighbor {4} remote-as 65000", " neighbor {4} password hunter2",
		" neighbor {6} remote-as 65000", " neighbor {6} password hunter3", " address-family ipv6 unicast", "  neighbor {6} activate", " exit-address-family")
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"), addr("192.0.2.128/25"), addr("192.0.2.129/25"))
	s.configure(settings{ASN: 65000, Hold: 9 * time.Second, Keepalive: 3 * time.Second,
		Peers: fmt.Sprintf("%s:65001:hunter2,[%s]:65001:hunter3", router.Addr(), router.Addr6())})
	s.up(router.Addr().String(), router.Addr6().String())
	f.has(5*time.Second, "ipv4", "192.0.2.10/32", "192.0.2.128/25") // two addresses of one prefix are one path
	f.has(5*time.Second, "ipv6", "2001:db8::10/128")
	if got := f.paths("2001:db8::10/128")[0].Nexthops[0].IP; got != node.Addr6().String() {
		t.Errorf("the next hop is %s", got)
	}
	if text := f.vtysh("show bgp neighbors " + node.Addr().String()); !strings.Contains(text, "Hold time is 9 seconds, keepalive interval is 3 seconds") {
		t.Error("the timers are not 9 and 3:", grepLine(text, "Hold time"))
	}
	s.set(addr("192.0.2.11/32"))
	f.has(5*time.Second, "ipv4", "192.0.2.11/32")
	f.has(5*time.Second, "ipv6")
}

func TestUnnumbered(t *testing.T) {
	t.Parallel()
	node, _, f := pairWithFRR(t,
		" neighbor eth0 interface remote-as external", " neighbor eth0 bfd 3 100 100", " address-family ipv6 unicast", "  neighbor eth0 activate", " exit-address-family")
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"))
	s.configure(settings{ASN: 65000, Peers: "unnumbered:eth0::::::true;100;100;3"}) // whatever AS the router says
	s.up("unnumbered:eth0")
	f.has(5*time.Second, "ipv4", "192.0.2.10/32")
	f.has(5*time.Second, "ipv6", "2001:db8::10/128")
	eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer("unnumbered:eth0").BFD == "up" })
	if text := f.vtysh("show ip route bgp"); !strings.Contains(text, "via fe80::") {
		t.Error("no IPv4 route with an IPv6 next hop:", text)
	}
}

// TestNextHops announces IPv6 over an IPv4 session (RFC 4760), with each way to say the next hop.
func TestNextHops(t *testing.T) {
	t.Parallel()
	node, router, f := pairWithFRR(t, " neighbor {4} remote-as 65000", " address-family ipv6 unicast", "  neighbor {4} activate", " exit-address-family")
	require.NoError(t, node.AddAddr(netip.MustParsePrefix("198.18.0.77/24"), "eth0"))
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"))
	for _, test := range []struct {
		mpbgp      string
		settings   settings
		ipv4, ipv6 string
	}{
		{"mpbgp_nexthop=fixed;mpbgp_ipv4=198.18.0.77;mpbgp_ipv6=[fd00:18::77]", settings{}, "198.18.0.77", "fd00:18::77"},
		{"mpbgp_nexthop=auto_sourceip", settings{Source: node.Addr()}, node.Addr().String(), node.Addr6().String()},
		{"mpbgp_nexthop=auto_sourceif", settings{SourceLink: "eth0"}, node.Addr().String(), node.Addr6().String()},
	} {
		c := test.settings
		c.ASN, c.Peers = 65000, fmt.Sprintf("%s:65001::::%s", router.Addr(), test.mpbgp)
		s.configure(c)
		next := func(prefix string) string {
			if paths := f.paths(prefix); len(paths) == 1 && len(paths[0].Nexthops) > 0 {
				return paths[0].Nexthops[0].IP
			}
			return ""
		}
		eventually(t, 20*time.Second, fmt.Sprintf("%s: next hops %s and %s", test.mpbgp, test.ipv4, test.ipv6), func() bool {
			return next("192.0.2.10/32") == test.ipv4 && next("2001:db8::10/128") == test.ipv6
		})
	}
}

// TestAttributes sees that communities and metrics of configuration and address arrive, and LOCAL_PREF at internal peers alone.
func TestAttributes(t *testing.T) {
	t.Parallel()
	node, router, f := pairWithFRR(t, " neighbor {4} remote-as 65000", " neighbor {6} remote-as internal", " address-family ipv4 unicast", "  neighbor {6} activate", " exit-address-family")
	s := startSpeaker(t, node)
	number := func(n uint32) *uint32 { return &n }
	marked := addr("192.0.2.10/32")
	marked.Route = vip.Route{Communities: []uint32{65000<<16 | 7}, LargeCommunities: [][3]uint32{{65000, 1, 2}}, MED: number(42), LocalPref: number(300)}
	s.set(marked, addr("192.0.2.11/32"))
	s.configure(settings{
		ASN: 65000, Communities: []uint32{65000<<16 | 1}, LocalPref: number(200), LocalASNs: map[string]uint32{router.Addr6().String(): 65001},
		Peers: fmt.Sprintf("%s:65001,[%s]:65001::::mpbgp_nexthop=fixed;mpbgp_ipv4=%s", router.Addr(), router.Addr6(), node.Addr()),
	})
	s.up(router.Addr().String(), router.Addr6().String())
	text := func(prefix string) []string {
		var out []string
		for _, p := range f.paths(prefix) {
			line := fmt.Sprintf("from %s [%s] [%s]", p.Aspath.String, p.Community.String, p.Large.String)
			if p.Metric != nil {
				line += fmt.Sprintf(" med %d", *p.Metric)
			}
			if p.LocPrf != nil {
				line += fmt.Sprintf(" pref %d", *p.LocPrf)
			}
			out = append(out, line)
		}
		slices.Sort(out)
		return out
	}
	want := map[string][]string{
		"192.0.2.10/32": {"from 65000 [65000:1 65000:7] [65000:1:2] med 42", "from Local [65000:1 65000:7] [65000:1:2] med 42 pref 300"},
		"192.0.2.11/32": {"from 65000 [65000:1] []", "from Local [65000:1] [] pref 200"},
	}
	for prefix, lines := range want {
		var got []string
		t.Cleanup(func() { t.Logf("%s: %q", prefix, got) })
		eventually(t, 10*time.Second, prefix, func() bool {
			got = text(prefix)
			return slices.Equal(got, lines)
		})
	}
}

// TestNothingIsImported has one router announce a prefix, which must neither reach the other router nor the node's kernel.
func TestNothingIsImported(t *testing.T) {
	t.Parallel()
	lab, _ := netns.Lan(t, "node", "one", "two")
	node := lab.Host("node")
	config := "router bgp %d\n no bgp ebgp-requires-policy\n neighbor %s remote-as 65000\n address-family ipv4 unicast\n  network 203.0.113.0/24\n exit-address-family\nip route 203.0.113.0/24 blackhole\n"
	one := startFRR(t, lab.Host("one"), fmt.Sprintf(config, 65001, node.Addr()))
	two := startFRR(t, lab.Host("two"), strings.Replace(fmt.Sprintf(config, 65002, node.Addr()), "203.0.113.0/24", "198.51.100.0/24", 2))
	one.has(10*time.Second, "ipv4", "203.0.113.0/24")
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	s.configure(settings{ASN: 65000, Peers: fmt.Sprintf("%s:65001,%s:65002", one.Host.Addr(), two.Host.Addr())})
	s.up(one.Host.Addr().String(), two.Host.Addr().String())
	one.has(10*time.Second, "ipv4", "192.0.2.10/32", "203.0.113.0/24")
	two.has(10*time.Second, "ipv4", "192.0.2.10/32", "198.51.100.0/24")
	settle(t, time.Second)
	if got := two.prefixes("ipv4"); len(got) != 2 {
		t.Errorf("the second router has %q", got)
	}
	routes := require.Value(node.Run(t.Context(), "ip", "route"))(t)
	if strings.Contains(string(routes), "203.0.113") {
		t.Errorf("the node has %s", routes)
	}
	listening := require.Value(node.Run(t.Context(), "ss", "-Hltn"))(t)
	if strings.TrimSpace(string(listening)) != "" {
		t.Errorf("the node listens: %s", listening)
	}
}

// TestMultihopAndTTLSecurity peers with the far side of a router, and checks the TTL with the near one.
func TestMultihopAndTTLSecurity(t *testing.T) {
	t.Parallel()
	node, router, f := pairWithFRR(t,
		" neighbor {4} remote-as 65000", " neighbor {4} port 179", " neighbor {4} ebgp-multihop 5", " neighbor {4} update-source 203.0.113.1", " neighbor {4} bfd 3 100 100",
		" neighbor {6} remote-as 65000", " neighbor {6} ttl-security hops 1", " address-family ipv6 unicast", "  neighbor {6} activate", " exit-address-family")
	require.NoError(t, router.AddAddr(netip.MustParsePrefix("203.0.113.1/32"), "lo"))
	require.NoError(t, node.AddRoute(netip.MustParsePrefix("203.0.113.1/32"), router.Addr()))
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	s.configure(settings{ASN: 65000, Peers: fmt.Sprintf("203.0.113.1:65001::5:::true;100;100;3,[%s]:65001::::::ttlsecurity=1", router.Addr6())})
	s.up("203.0.113.1", router.Addr6().String())
	f.has(5*time.Second, "ipv4", "192.0.2.10/32")
	eventually(t, 10*time.Second, "BFD over hops up", func() bool { return s.peer("203.0.113.1").BFD == "up" })
	packets := s.captured(t, router, "tcp port 179 and src host "+node.Addr6().String(), 2, "ipv6.hlim")
	for _, ttl := range packets {
		if ttl[0] != "255" {
			t.Errorf("a packet with ttlsecurity has hop limit %s", ttl[0])
		}
	}
}

// TestBFDOnTheWire captures BFD: 300 must be 300 ms, in what the packets say and in how they come.
func TestBFDOnTheWire(t *testing.T) {
	t.Parallel()
	node, router, _ := pairWithFRR(t, " neighbor {4} remote-as 65000", " neighbor {4} bfd 3 300 300")
	s := startSpeaker(t, node)
	name := router.Addr().String()
	s.configure(settings{ASN: 65000, Peers: name + ":65001:::::true;300;300;3"})
	s.up(name)
	eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer(name).BFD == "up" })
	settle(t, time.Second)
	packets := s.captured(t, router, "udp port 3784 and src host "+node.Addr().String(), 20,
		"frame.time_delta", "bfd.desired_min_tx_interval", "bfd.required_min_rx_interval", "bfd.detect_time_multiplier", "bfd.sta", "ip.ttl", "udp.srcport")
	var between []time.Duration
	for i, p := range packets {
		if want := []string{"300000", "300000", "3", "0x03", "255"}; !slices.Equal(p[1:6], want) && !slices.Equal(p[1:6], []string{"300000", "300000", "3", "0x3", "255"}) {
			t.Errorf("a packet says %q, want %q", p[1:6], want)
		}
		if gap, err := time.ParseDuration(p[0] + "s"); err != nil {
			t.Errorf("time between two packets: %v", err)
		} else if i > 0 {
			between = append(between, gap)
		}
		if p[6] < "49152" {
			t.Errorf("source port %s", p[6])
		}
	}
	// RFC 5880, 6.8.7: 75 to 100 % of the interval. A busy machine may send one late, but not most of them.
	slices.Sort(between)
	if middle := between[len(between)/2]; middle < 215*time.Millisecond || middle > 320*time.Millisecond {
		t.Errorf("the middle one of the times between packets is %v", middle)
	}
	t.Logf("BFD | 300 ms configured | gaps on the wire %s |", gaps(packets))
}

func gaps(packets [][]string) string {
	var out []string
	for _, p := range packets[1:] {
		out = append(out, strings.TrimSuffix(p[0], "0000"))
	}
	return strings.Join(out, " ")
}

// captured waits for count packets on a host and returns fields of each.
func (s *speaker) captured(t *testing.T, host *netns.Host, filter string, count int, fields ...string) [][]string {
	t.Helper()
	require.Tool(t, "tshark")
	args := []string{"tshark", "-ni", "eth0", "-f", filter, "-c", fmt.Sprint(count), "-a", "duration:30", "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out := require.Value(host.Run(t.Context(), args...))(t)
	var packets [][]string
	for line := range strings.Lines(string(out)) {
		packets = append(packets, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	if len(packets) < count {
		t.Fatalf("captured %d packets of %d", len(packets), count)
	}
	return packets
}
