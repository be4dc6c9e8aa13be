package bgp_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
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

// startFRR runs a router on a host; its configuration begins with what docs/bgp.md says of defaults.
func startFRR(t *testing.T, host *netns.Host, config string) *frr {
	t.Helper()
	router.RequireFRR(t)
	return &frr{require.Value(router.StartFRR(t.Context(), host, "frr defaults datacenter\n"+config))(t), t}
}

func (f *frr) vtysh(commands ...string) string {
	f.t.Helper()
	return require.Value(f.Run(f.t.Context(), commands...))(f.t)
}

// frrPath is one path of a prefix in FRR's table.
type frrPath struct {
	Valid     bool
	Multipath bool
	Bestpath  any
	Metric    *uint32
	LocPrf    *uint32
	Aspath    struct{ String string }
	Stale     bool
	Community struct{ String string }
	Large     struct{ String string } `json:"largeCommunity"`
	Nexthops  []struct {
		IP    string `json:"ip"`
		Used  bool
		Scope string
	}
	Peer struct{ PeerId string }
}

// paths returns FRR's paths of a prefix.
func (f *frr) paths(prefix string) []frrPath {
	f.t.Helper()
	var out struct{ Paths []frrPath }
	require.NoError(f.t, f.Show(f.t.Context(), fmt.Sprintf("show bgp %s unicast %s json", afi(prefix), prefix), &out))
	return out.Paths
}

func afi(prefix string) string {
	if strings.Contains(prefix, ":") {
		return "ipv6"
	}
	return "ipv4"
}

// prefixes returns every prefix of a family in FRR's table.
func (f *frr) prefixes(family string) []string {
	f.t.Helper()
	var out struct{ Routes map[string]any }
	text := f.vtysh(fmt.Sprintf("show bgp %s unicast json", family))
	if !strings.Contains(text, "{") {
		return nil
	}
	require.NoError(f.t, json.Unmarshal([]byte(text), &out))
	return slices.SortedFunc(maps.Keys(out.Routes), func(a, b string) int {
		return netip.MustParsePrefix(a).Addr().Compare(netip.MustParsePrefix(b).Addr())
	})
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
