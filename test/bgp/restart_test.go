package bgp_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// opens captures the OPEN messages that a node sends to a router and returns what they say of graceful restart so far, "R bit, time, F bit" each.
func opens(t *testing.T, node, router *netns.Host) (said func() []string) {
	t.Helper()
	require.Tool(t, "tshark")
	c := router.Command("tshark", "-lni", "eth0", "-f", "tcp port 179 and src host "+node.Addr().String(), "-Y", "bgp.type == 1", "-T", "fields", "-E", "separator=,",
		"-e", "bgp.cap.gr.timers.restart_flag", "-e", "bgp.cap.gr.timers.restart_time", "-e", "bgp.cap.gr.flag.pfs")
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Kill() })
	log := func() string { return string(require.Value(os.ReadFile(c.Log()))(t)) }
	eventually(t, 20*time.Second, "tshark captures", func() bool { return strings.Contains(log(), "Capturing on") })
	return func() []string {
		var out []string
		for line := range strings.Lines(log()) {
			if line = strings.TrimSpace(line); strings.Count(line, ",") == 2 && !strings.Contains(line, " ") {
				out = append(out, strings.NewReplacer("True", "1", "False", "0").Replace(line))
			}
		}
		return out
	}
}

// TestRestartIsSaid sees the R and F bits of the graceful restart capability (RFC 4724, 3): set in the first OPEN of a process, which may have had the
// same paths before, and only there. Without R a router that still has the former session drops its paths (4.2).
func TestRestartIsSaid(t *testing.T) {
	t.Parallel()
	node, router, f := pairWithFRR(t, " neighbor {4} remote-as 65000", " neighbor {4} timers connect 1", " neighbor {4} graceful-restart-helper")
	said := opens(t, node, router)
	expect := func(n int, want string) {
		t.Helper()
		eventually(t, 30*time.Second, fmt.Sprintf("%d OPENs", n), func() bool { return len(said()) >= n })
		if got := said()[n-1]; got != want {
			t.Errorf("OPEN %d of %q says %q of graceful restart, want %q", n, said(), got, want)
		}
	}
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	s.configure(settings{ASN: 65000, Restart: 60 * time.Second, Peers: router.Addr().String() + ":65001"})
	s.up(router.Addr().String())
	expect(1, "1,60,1")
	f.vtysh("clear bgp *")
	expect(2, "0,60,0")
	s.up(router.Addr().String())
	s.stop()
	s = startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"))
	s.configure(settings{ASN: 65000, Restart: 60 * time.Second, Peers: router.Addr().String() + ":65001"})
	s.up(router.Addr().String())
	expect(3, "1,60,1")
}
