package bgp_test

import (
	"fmt"
	"testing"
	"time"

	"daymark/test/netns"
)

func TestFRRTakesPaths(t *testing.T) {
	lab, _ := netns.Lan(t, "node", "router")
	node, router := lab.Host("node"), lab.Host("router")
	f := startFRR(t, router, fmt.Sprintf(`
router bgp 65001
 no bgp ebgp-requires-policy
 neighbor %[1]s remote-as 65000
 neighbor %[1]s password hunter2
 neighbor %[2]s remote-as 65000
 address-family ipv6 unicast
  neighbor %[2]s activate
 exit-address-family
`, node.Addr(), node.Addr6()))
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"))
	s.configure(settings{ASN: 65000, Hold: 9 * time.Second, Keepalive: 3 * time.Second,
		Peers: fmt.Sprintf("%s:65001:hunter2,[%s]:65001", router.Addr(), router.Addr6())})
	s.up(router.Addr().String(), router.Addr6().String())
	f.has(5*time.Second, "ipv4", "192.0.2.10/32")
	f.has(5*time.Second, "ipv6", "2001:db8::10/128")
	s.set(addr("192.0.2.11/32"))
	f.has(5*time.Second, "ipv4", "192.0.2.11/32")
	f.has(5*time.Second, "ipv6")
	t.Log(s.report())
	t.Log(f.vtysh("show bgp summary"))
}

func TestBFDWithFRR(t *testing.T) {
	lab, _ := netns.Lan(t, "node", "router")
	node, router := lab.Host("node"), lab.Host("router")
	f := startFRR(t, router, fmt.Sprintf(`
router bgp 65001
 no bgp ebgp-requires-policy
 neighbor %[1]s remote-as 65000
 neighbor %[1]s bfd 3 100 100
`, node.Addr()))
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	s.configure(settings{ASN: 65000, Peers: fmt.Sprintf("%s:65001:::::true;100;100;3", router.Addr())})
	name := router.Addr().String()
	s.up(name)
	eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer(name).BFD == "up" })
	t.Log(f.vtysh("show bfd peers"))
}

func TestUnnumberedWithFRR(t *testing.T) {
	lab, _ := netns.Lan(t, "node", "router")
	node, router := lab.Host("node"), lab.Host("router")
	f := startFRR(t, router, `
router bgp 65001
 no bgp ebgp-requires-policy
 neighbor eth0 interface remote-as external
 neighbor eth0 bfd 3 100 100
 address-family ipv6 unicast
  neighbor eth0 activate
 exit-address-family
`)
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"))
	s.configure(settings{ASN: 65000, Peers: "unnumbered:eth0:65001:::::true;100;100;3"})
	s.up("unnumbered:eth0")
	f.has(5*time.Second, "ipv4", "192.0.2.10/32")
	f.has(5*time.Second, "ipv6", "2001:db8::10/128")
	eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer("unnumbered:eth0").BFD == "up" })
	t.Log(f.vtysh("show ip route bgp", "show ipv6 route bgp", "show bfd peers brief"))
}
