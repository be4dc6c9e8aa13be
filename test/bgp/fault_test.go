package bgp_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daymark/test/netns"
	"daymark/test/require"
)

// faultOutage runs a fault on a rack and reports what the client went through from then on until the router uses again as many nodes as given, and a second more.
func faultOutage(t *testing.T, r *rack, name string, after int, fault func()) netns.Outage {
	t.Helper()
	prober := r.probe()
	defer prober.Stop()
	settle(t, time.Second)
	begun := time.Now()
	fault()
	r.uses(after)
	settle(t, time.Second)
	outage := prober.Report(begun, time.Now())
	t.Logf("FAULT | BGP: %s | %s |", name, outage)
	return outage
}

// settle lets time go by, for a prober to see.
func settle(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func TestThreeNodesShareTheTraffic(t *testing.T) {
	t.Parallel()
	r := newRack(t, 3)
	r.start(settings{ASN: 65000, Peers: r.routerAddr() + ":65001"})
	prober := r.probe()
	begun := time.Now()
	settle(t, 2*time.Second)
	outage := prober.Report(begun, time.Now())
	prober.Stop()
	if len(outage.By) != 3 || outage.Lost > 0 {
		t.Errorf("ECMP over three nodes: %s", outage)
	}
	if got := len(r.frr.paths(service)); got != 3 {
		t.Errorf("FRR has %d paths", got)
	}
}

// TestFaultNodeLost cuts a node off. With one of two nodes gone the client must not miss an answer for longer than the detection takes.
func TestFaultNodeLost(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	for _, test := range []struct {
		name     string
		neighbor []string
		settings settings
		bfd      string
		most     time.Duration
	}{
		{"bfd", []string{"bfd 3 100 100"}, settings{ASN: 65000}, ":::::true;100;100;3", 500 * time.Millisecond},
		{"hold", []string{"timers 1 3"}, settings{ASN: 65000, Hold: 3 * time.Second, Keepalive: time.Second}, "", 4 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRack(t, 1, test.neighbor...)
			test.settings.Peers = r.routerAddr() + ":65001" + test.bfd
			r.start(test.settings)
			s := r.speakers[0]
			if test.bfd != "" {
				eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer(r.routerAddr()).BFD == "up" })
				settle(t, time.Second)
			}
			begun := time.Now()
			require.NoError(t, r.nodes[0].Cut())
			r.uses(0)
			took := time.Since(begun)
			t.Logf("FAULT | BGP: node cut off (%s) | withdrawn after %s |", test.name, took.Round(10*time.Millisecond))
			if took > test.most {
				t.Errorf("withdrawn after %s, want at most %s", took, test.most)
			}
			require.NoError(t, r.nodes[0].Mend())
			r.uses(1)
			s.up(r.routerAddr())
		})
	}
}

// TestFaultNodeLostUnderTraffic measures the same from the client's side, with three nodes.
func TestFaultNodeLostUnderTraffic(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	r := newRack(t, 3, "bfd 3 100 100")
	r.start(settings{ASN: 65000, Peers: r.routerAddr() + ":65001:::::true;100;100;3"})
	for _, s := range r.speakers {
		eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer(r.routerAddr()).BFD == "up" })
	}
	settle(t, time.Second)
	outage := faultOutage(t, r, "one of three nodes cut off, BFD 100 ms × 3", 2, func() { require.NoError(t, r.nodes[0].Cut()) })
	if lost := time.Duration(outage.Lost) * 10 * time.Millisecond; lost > 500*time.Millisecond {
		t.Errorf("a third of the questions went to a dead node for too long: %s", outage)
	}
}

func TestFaultUpgradeUnderGracefulRestart(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	for name, bfd := range map[string]string{"plain": "", "bfd": ":::::true;100;100;3"} {
		t.Run(name, func(t *testing.T) {
			lines := []string{"graceful-restart-helper"}
			if bfd != "" {
				lines = append(lines, "bfd 3 100 100", "bfd check-control-plane-failure")
			}
			r := newRack(t, 1, lines...)
			c := settings{ASN: 65000, Restart: 60 * time.Second, Peers: r.routerAddr() + ":65001" + bfd}
			r.start(c)
			s := r.speakers[0]
			if bfd != "" {
				eventually(t, 10*time.Second, "BFD up", func() bool { return s.peer(r.routerAddr()).BFD == "up" })
			}
			for _, fault := range []struct {
				name string
				end  func(*speaker)
			}{
				{"upgraded", (*speaker).stop},
				{"killed", func(s *speaker) { require.NoError(t, s.command.Kill()) }},
			} {
				outage := faultOutage(t, r, "agent "+fault.name+" under graceful restart ("+name+")", 1, func() {
					fault.end(s)
					settle(t, 3*time.Second)
					if r.hops() != 1 {
						t.Error("the router dropped the path")
					}
					s = startSpeaker(t, r.nodes[0])
					s.set(addr(service))
					s.configure(c)
					s.up(r.routerAddr())
				})
				if outage.Lost > 0 {
					t.Errorf("%s: %s", fault.name, outage)
				}
			}
		})
	}
}

func TestFaultDrain(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	r := newRack(t, 3)
	r.start(settings{ASN: 65000, Drain: 2 * time.Second, Peers: r.routerAddr() + ":65001"})
	outage := faultOutage(t, r, "one of three nodes drained", 2, func() {
		leaving := addr(service)
		leaving.Route.Leaving = true
		r.speakers[0].set(leaving)
		eventually(t, 2*time.Second, "one path of three is marked", func() bool {
			marked := 0
			for _, p := range r.frr.paths(service) {
				if p.Leaving() {
					marked++
				}
			}
			return marked == 1
		})
		settle(t, time.Second)
		r.speakers[0].set()
		require.NoError(t, r.nodes[0].DelAddr(netipPrefix(service), "lo"))
	})
	if outage.Lost > 0 {
		t.Errorf("drain: %s", outage)
	}
	outage = faultOutage(t, r, "agent on one of two nodes stopped", 1, func() {
		r.speakers[1].stop()
		require.NoError(t, r.nodes[1].DelAddr(netipPrefix(service), "lo"))
	})
	if outage.Lost > 0 {
		t.Errorf("stop: %s", outage)
	}
}

// TestLeasedAddressesDoNotOutliveTheAgent stops an agent under graceful restart that holds an address under a lease: a successor may have it already.
func TestLeasedAddressesDoNotOutliveTheAgent(t *testing.T) {
	t.Parallel()
	r := newRack(t, 1)
	c := settings{ASN: 65000, Restart: 60 * time.Second, Peers: r.routerAddr() + ":65001"}
	r.start(c)
	leased := addr("192.0.2.20/32")
	leased.For = time.Hour
	r.speakers[0].set(addr(service), leased)
	r.frr.has(5*time.Second, "ipv4", service, "192.0.2.20/32")
	r.speakers[0].stop()
	r.frr.has(2*time.Second, "ipv4", service)
}

// TestFrozenHolderIsWithdrawn freezes the speaker while its right runs out, and thaws it before the router has noticed.
func TestFrozenHolderIsWithdrawn(t *testing.T) {
	t.Parallel()
	r := newRack(t, 1)
	s := startSpeaker(t, r.nodes[0])
	r.speakers = append(r.speakers, s)
	s.configure(settings{ASN: 65000, Peers: r.routerAddr() + ":65001"})
	s.up(r.routerAddr())
	held := addr(service)
	held.For = 2 * time.Second
	s.set(held)
	r.uses(1)
	r.uses(0) // nobody said so: the right ran out
	s.set(held)
	r.uses(1)
	require.NoError(t, s.command.Signal(unix.SIGSTOP))
	settle(t, 3*time.Second)
	require.NoError(t, s.command.Signal(unix.SIGCONT))
	r.uses(0)
}

func TestBenchThousandServices(t *testing.T) {
	require.Asked(t, "DAYMARK_BENCH", "make bench")
	r := newRack(t, 1)
	s := startSpeaker(t, r.nodes[0])
	s.configure(settings{ASN: 65000, Peers: r.routerAddr() + ":65001"})
	s.up(r.routerAddr())
	before := s.report().Heap
	var all []address
	for i := range 1000 {
		all = append(all, addr(fmt.Sprintf("192.0.%d.%d/32", 8+i/250, i%250)))
	}
	count := func(n int) func() bool { return func() bool { return len(r.frr.prefixes("ipv4")) == n } }
	for _, step := range []struct {
		what string
		set  []address
	}{{"announced", all}, {"withdrawn", nil}} {
		begun := time.Now()
		s.set(step.set...)
		returned := time.Since(begun)
		eventually(t, 10*time.Second, "1,000 paths "+step.what, count(len(step.set)))
		took := time.Since(begun)
		heap := s.report().Heap
		t.Logf("BENCH | 1,000 Services %s by BGP: in FRR after %s (Set took %s), heap %d KiB, %d KiB before |", step.what, took.Round(time.Millisecond), returned.Round(time.Millisecond), heap>>10, before>>10)
		if took > 3*time.Second {
			t.Errorf("%s after %s", step.what, took)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Pid()))
	require.NoError(t, err)
	t.Logf("BENCH | %s |", grepLine(string(status), "VmRSS"))
}
