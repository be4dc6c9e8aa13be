package bgp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// toldDown waits for the event that a session is down for a reason with this word in it.
func (s *speaker) toldDown(peer, word string) {
	s.t.Helper()
	var reasons []string
	defer func() { s.t.Logf("%s: %q", peer, reasons) }()
	eventually(s.t, 40*time.Second, fmt.Sprintf("event that %s is down: %s", peer, word), func() bool {
		reasons = nil
		for _, e := range s.report().Events {
			if e.Peer == peer && !e.Up {
				reasons = append(reasons, e.Reason)
			}
		}
		return slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, word) })
	})
	if strings.Contains(fmt.Sprint(reasons), "hunter2") {
		s.t.Error("an event tells the password")
	}
}

// TestFaultWrongPeers sees that wrong peers are told of and harm nobody: it has a peer with a wrong password, one with a wrong AS, one that isn't there, one whose password becomes wrong after it
// was up, and a good one.
func TestFaultWrongPeers(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	lab, lan := netns.Lan(t, "node", "password", "asn", "later", "good")
	node := lab.Host("node")
	config := "router bgp 65001\n no bgp ebgp-requires-policy\n neighbor %s remote-as 65000\n"
	startFRR(t, lab.Host("password"), fmt.Sprintf(config+" neighbor %[1]s password other\n", node.Addr()))
	startFRR(t, lab.Host("asn"), fmt.Sprintf(config, node.Addr()))
	startFRR(t, lab.Host("later"), fmt.Sprintf(config, node.Addr()))
	good := startFRR(t, lab.Host("good"), fmt.Sprintf(config, node.Addr()))
	addrOf := func(name string) string { return lab.Host(name).Addr().String() }
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	s.configure(settings{ASN: 65000, Peers: fmt.Sprintf("%s:65001,%s:65001", addrOf("good"), addrOf("later"))})
	s.up(addrOf("good"), addrOf("later"))
	s.configure(settings{ASN: 65000, Peers: fmt.Sprintf("%s:65001:hunter2,%s:65099,%s:65001,%s:65001:hunter2,%s:65001",
		addrOf("password"), addrOf("asn"), lan.Addr(99), addrOf("later"), addrOf("good"))})
	good.has(5*time.Second, "ipv4", "192.0.2.10/32")
	s.toldDown(addrOf("password"), "password")
	s.toldDown(addrOf("later"), "password")
	s.toldDown(addrOf("asn"), "AS")
	s.toldDown(lan.Addr(99).String(), "dial")
	if p := s.peer(addrOf("good")); !p.Established() || p.Flaps > 0 {
		t.Errorf("the good peer: %+v", p)
	}
}

// TestOnlyWhatChangesIsTouched follows a speaker through changes of its configuration.
func TestOnlyWhatChangesIsTouched(t *testing.T) {
	t.Parallel()
	lab, _ := netns.Lan(t, "node", "one", "two")
	node := lab.Host("node")
	config := "router bgp 65001\n no bgp ebgp-requires-policy\n neighbor %s remote-as 65000\n neighbor %[1]s timers connect 1\n"
	one, two := startFRR(t, lab.Host("one"), fmt.Sprintf(config, node.Addr())), startFRR(t, lab.Host("two"), fmt.Sprintf(config, node.Addr()))
	first, second := one.Host.Addr().String(), two.Host.Addr().String()
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	if !s.report().Waiting {
		t.Error("it does not wait for a configuration")
	}
	s.configure(settings{ASN: 65000, Peers: first + ":65001"})
	s.up(first)
	since := s.peer(first).Since
	untouched := func(what string) {
		t.Helper()
		if p := s.peer(first); !p.Established() || !p.Since.Equal(since) {
			t.Errorf("%s: the first peer was touched: %+v", what, p)
		}
	}

	s.configure(settings{ASN: 65000, Peers: first + ":65001," + second + ":65001"})
	s.up(second)
	two.has(5*time.Second, "ipv4", "192.0.2.10/32")
	untouched("a peer added")

	s.configure(settings{ASN: 65000, Peers: first + ":65001," + second + ":65001:newpassword"})
	eventually(t, 10*time.Second, "the second peer down", func() bool { return !s.peer(second).Established() })
	untouched("a password changed")
	if err := two.Configure(t.Context(), "router bgp 65001", "neighbor "+node.Addr().String()+" password newpassword"); err != nil {
		t.Fatal(err)
	}
	s.up(second)

	s.configure(settings{ASN: 65000, Peers: first + ":65001", Communities: []uint32{65000<<16 | 9}})
	two.has(5*time.Second, "ipv4")
	eventually(t, 5*time.Second, "the community", func() bool {
		paths := one.paths("192.0.2.10/32")
		return len(paths) == 1 && paths[0].Community.String == "65000:9"
	})
	untouched("a peer removed, a community added")

	if err := s.order("/configure", order{Config: &settings{ASN: 0, Peers: first + ":65001"}}); err == nil {
		t.Error("a wrong configuration is taken")
	}
	untouched("a wrong configuration")

	s.configure(settings{ASN: 65000, RouterID: netipAddr("198.18.0.200"), Peers: first + ":65001"})
	eventually(t, 20*time.Second, "the session anew", func() bool { return s.peer(first).Established() && !s.peer(first).Since.Equal(since) })
	one.has(5*time.Second, "ipv4", "192.0.2.10/32")

	if err := s.order("/configure", order{}); err != nil {
		t.Fatal(err)
	}
	one.has(5*time.Second, "ipv4")
	if r := s.report(); !r.Waiting || len(r.Peers) > 0 {
		t.Errorf("without a configuration: %+v", r)
	}
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("stopping while it waits took %s", took)
	}
}
