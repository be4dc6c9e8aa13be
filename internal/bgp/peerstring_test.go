package bgp_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"daymark/internal/bgp"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func TestParsePeers(t *testing.T) {
	bfd := bgp.BFD{Enabled: true, MinRx: 300 * time.Millisecond, MinTx: 300 * time.Millisecond, Multiplier: 3}
	addr := netip.MustParseAddr
	for text, want := range map[string][]bgp.Peer{
		"":  nil,
		" ": nil,
		"192.168.0.10:65000::false,192.168.0.11:65000::false": {{Addr: addr("192.168.0.10"), ASN: 65000}, {Addr: addr("192.168.0.11"), ASN: 65000}},
		"192.168.0.10:65000": {{Addr: addr("192.168.0.10"), ASN: 65000}},
		"192.168.0.10:4200000000:pa[s:true:180, 192.168.0.11:65000::3:179,": {
			{Addr: addr("192.168.0.10"), ASN: 4200000000, Password: "pa[s", MultihopTTL: bgp.DefaultMultihopTTL, Port: 180}, {Addr: addr("192.168.0.11"), ASN: 65000, MultihopTTL: 3},
		},
		"[fd00::1]:65501::false::mpbgp_nexthop=auto_sourceif:true;300;300;3": {{Addr: addr("fd00::1"), ASN: 65501, NextHop: bgp.NextHop{Mode: bgp.NextHopSourceLink}, BFD: bfd}},
		"[fd00::1]:65501::false:::true;300;300;3":                            {{Addr: addr("fd00::1"), ASN: 65501, BFD: bfd}},
		"[fd00::1]:65501::::: true":                                          nil,
		"[fe80::1%eth0]:65501":                                               {{Addr: addr("fe80::1%eth0"), ASN: 65501}},
		"10.0.0.1:1:::::true;;50;":                                           {{Addr: addr("10.0.0.1"), ASN: 1, BFD: bgp.BFD{Enabled: true, MinRx: 300 * time.Millisecond, MinTx: 50 * time.Millisecond, Multiplier: 3}}},
		"10.0.0.1:1:::::false;1;1;1":                                         {{Addr: addr("10.0.0.1"), ASN: 1}},
		"10.0.0.1:1::::mpbgp_nexthop=fixed;mpbgp_ipv6=[fd00::2];mpbgp_ipv4=10.0.0.2:true:ttlsecurity=1": {
			{Addr: addr("10.0.0.1"), ASN: 1, NextHop: bgp.NextHop{Mode: bgp.NextHopFixed, IPv4: addr("10.0.0.2"), IPv6: addr("fd00::2")}, BFD: bfd, TTLSecurity: 1},
		},
		"unnumbered:eth0,unnumbered:eth1:65000::true/mpbgp_nexthop=fixed;mpbgp_ipv6=fd00::2": {
			{Link: "eth0"}, {Link: "eth1", ASN: 65000, NextHop: bgp.NextHop{Mode: bgp.NextHopFixed, IPv6: addr("fd00::2")}},
		},
		"10.0.0.1:1::::::secret=kube-system/bgp": {{Addr: addr("10.0.0.1"), ASN: 1, PasswordSecret: "kube-system/bgp"}},
	} {
		got, err := bgp.ParsePeers(text)
		if strings.Contains(text, ": true") {
			if err == nil {
				t.Errorf("%q: no error", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, got, compareAddrs); d != "" {
			t.Errorf("%q: %s", text, d)
		}
		if again, err := bgp.ParsePeers(bgp.FormatPeers(got)); err != nil || !cmp.Equal(got, again, compareAddrs) {
			t.Errorf("%q: formatted %q and parsed again: %v, %v", text, bgp.FormatPeers(got), again, err)
		}
	}
}

func TestParsePeersNamesEveryFault(t *testing.T) {
	_, err := bgp.ParsePeers("10.0.0.256:1:hunter2,10.0.0.1,10.0.0.2:0,fd00::1:65000:hunter2,[fd00::2:65000:hunter2,10.0.0.3:1::yes:0:mpbgp_nexthop=next:true;5;x;0:ttl=1," +
		"10.0.0.4:1,10.0.0.4:2:hunter2,unnumbered::1,[fe80::1]:1,0.0.0.0:1,10.0.0.5:1:hunter2:true::::ttlsecurity=1")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"10.0.0.256"`, `"10.0.0.1:"`, `"10.0.0.2:0"`, `"fd00"`, "no ]", `multihop "yes"`, `port "0"`, `"next"`, `"x"`, `"ttl"`, "given twice", `"unnumbered:"`,
		"needs a zone", `"0.0.0.0:1"`, "exclude",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ndoes not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%s\nshows a password", err)
	}
	if _, err := bgp.ParsePeers(strings.Repeat("10.0.0.1:1,", 1000)); err == nil {
		t.Error("an endless list is taken")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	c := bgp.Config{Peers: []bgp.Peer{{Password: "hunter2"}}}
	asJSON, _ := json.Marshal(c)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", c, c, c, c.Peers[0].Password), string(asJSON)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	peer := bgp.Peer{Addr: netip.MustParseAddr("10.0.0.1"), ASN: 1}
	good := bgp.Config{ASN: 65000, HoldTime: 9 * time.Second, Keepalive: 3 * time.Second, Peers: []bgp.Peer{peer}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := bgp.Config{
		RouterID: netip.MustParseAddr("::1"), Source: netip.MustParseAddr("10.0.0.2"), SourceLink: "eth0", HoldTime: 2 * time.Second, Keepalive: 1500 * time.Millisecond,
		GracefulRestart: 5000 * time.Second, Drain: -1, NextHop: bgp.NextHop{Mode: "fixed"}, Peers: []bgp.Peer{peer, peer},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"local AS 0", "router ID ::1", "exclude", "hold time 2s", "interval 1.5s", "restart time", "drain", "mpbgp_ipv4", "twice"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ndoes not name %s", err, want)
		}
	}
}

func FuzzParsePeers(f *testing.F) {
	f.Add("192.168.0.10:65000:secret:true:180:mpbgp_nexthop=auto_sourceif:true;300;300;3:ttlsecurity=1")
	f.Add("[fd00::1]:65501,unnumbered:eth0,10.0.0.1:1::3::mpbgp_nexthop=fixed;mpbgp_ipv6=[fd00::2]")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := bgp.ParsePeers(text)
		if err != nil {
			if len(got) > 0 {
				t.Error("peers and an error")
			}
			return
		}
		formatted := bgp.FormatPeers(got)
		again, err := bgp.ParsePeers(formatted)
		if err != nil || !cmp.Equal(got, again, compareAddrs) {
			t.Errorf("%q: %v, then %q: %v, %v", text, got, formatted, again, err)
		}
	})
}
