package datapath_test

import (
	"log/slog"
	"os/exec"
	"testing"

	"daymark/internal/datapath"
	"daymark/test/netns"
	"daymark/test/require"
)

// TestWhatIsUsableOnlyByItsLink has the local routes of a link where only what names the link finds them, as in a VRF: not every kernel has
// those, so that a rule does the same.
func TestWhatIsUsableOnlyByItsLink(t *testing.T) {
	for name, build := range map[string]func(t *testing.T) (link string){
		"rule": func(t *testing.T) string {
			l := link(t, "u0")
			netns.IP(t, "-6 rule add pref 1 oif u0 lookup local")
			netns.IP(t, "-6 rule del pref 0")
			t.Cleanup(func() {
				netns.IP(t, "-6 rule add pref 0 lookup local")
				netns.IP(t, "-6 rule del pref 1")
			})
			return l
		},
		"VRF": func(t *testing.T) string {
			if out, err := exec.Command("ip", "link", "add", "vrf0", "up", "type", "vrf", "table", "10").CombinedOutput(); err != nil {
				t.Logf("without a VRF: %v %s", err, out)
				return ""
			}
			t.Cleanup(func() { netns.IP(t, "link del vrf0") })
			l := link(t, "u0")
			netns.IP(t, "link set u0 master vrf0")
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := build(t)
			if l == "" {
				return
			}
			running(t, l)
			warned := make(require.Lines, 100)
			k := open(t, datapath.Config{Log: slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			for range 20 {
				set(t, k, addr("2001:db8::1/128", l))
				set(t, k)
			}
			if n := len(warned); n > 5 { // one that is late for want of time is
				t.Errorf("not usable in %d of 20: %s", n, <-warned)
			}
		})
	}
}
