package router_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
	"daymark/test/router"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }

const birdConfig = `
router id %[1]s;
protocol device {}
protocol static { ipv4; route 198.19.200.1/32 blackhole; }
protocol bgp frr {
	local %[1]s as 65001;
	neighbor %[2]s as 65002;
	ipv4 { import all; export all; };
}
`

const frrConfig = `
ip route 198.19.200.2/32 Null0
router bgp 65002
 bgp router-id %[1]s
 no bgp ebgp-requires-policy
 neighbor %[2]s remote-as 65001
 address-family ipv4 unicast
  redistribute static
 exit-address-family
`

// TestRoutersTalk has FRR and BIRD exchange a route each.
func TestRoutersTalk(t *testing.T) {
	router.RequireFRR(t)
	require.Tool(t, "bird", "birdc")
	lab, _ := netns.Lan(t, "frr", "bird")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at, other := lab.Host("frr").Addr(), lab.Host("bird").Addr()
	f := require.Value(router.StartFRR(ctx, lab.Host("frr"), fmt.Sprintf(frrConfig, at, other)))(t)
	b := require.Value(router.StartBIRD(ctx, lab.Host("bird"), fmt.Sprintf(birdConfig, other, at)))(t)

	until(ctx, t, func() bool { return require.Value(b.Established(ctx, "frr"))(t) })
	fromFRR := netip.MustParsePrefix("198.19.200.2/32")
	until(ctx, t, func() bool {
		return slices.Equal(require.Value(b.Routes(ctx, "master4"))(t)[fromFRR], []netip.Addr{at})
	})
	var table struct{ Routes map[string]any }
	until(ctx, t, func() bool {
		require.NoError(t, f.Show(ctx, "show bgp ipv4 unicast json", &table))
		return table.Routes["198.19.200.1/32"] != nil
	})

	// A router that is configured otherwise while it runs takes its route back.
	require.NoError(t, f.Configure(ctx, "no ip route 198.19.200.2/32 Null0"))
	until(ctx, t, func() bool {
		_, there := require.Value(b.Routes(ctx, "master4"))(t)[fromFRR]
		return !there
	})
}

func until(ctx context.Context, t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}
