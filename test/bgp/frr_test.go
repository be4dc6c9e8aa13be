package bgp_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
	"daymark/test/router"
)

// frr is an FRR router of a test.
type frr struct {
	*router.FRR
	t *testing.T
}

func startFRR(t *testing.T, host *netns.Host, config string) *frr {
	t.Helper()
	router.RequireFRR(t)
	return &frr{require.Value(router.StartFRR(t.Context(), host, config))(t), t}
}

func (f *frr) vtysh(commands ...string) string {
	f.t.Helper()
	return require.Value(f.Run(f.t.Context(), commands...))(f.t)
}

func (f *frr) paths(prefix string) []router.Path {
	f.t.Helper()
	return require.Value(f.Paths(f.t.Context(), prefix))(f.t)
}

func (f *frr) prefixes(family string) []string {
	f.t.Helper()
	return require.Value(f.Prefixes(f.t.Context(), family))(f.t)
}

// has waits until FRR's table of a family is exactly this.
func (f *frr) has(within time.Duration, family string, want ...string) {
	f.t.Helper()
	var got []string
	defer func() {
		if f.t.Failed() {
			f.t.Logf("FRR has %q, want %q", got, want)
		}
	}()
	eventually(f.t, within, fmt.Sprintf("FRR has %q", want), func() bool {
		got = f.prefixes(family)
		return slices.Equal(got, want)
	})
}
