package agent_test

import (
	"context"
	"testing"
	"time"

	"daymark/test/require"
)

// Five hundred Services cost the API server one watch each of Services and EndpointSlices, and the agent no goroutine of their
// own, neither at rest nor, but for a moment, when they come.
func TestFiveHundredServicesInOneAgent(t *testing.T) {
	const n = 500
	b := newBed(t, "n1")
	b.start()
	before := map[string]int{"services": b.watches("services"), "endpointslices": b.watches("endpointslices")}
	agent := b.agent(b.nodes[0], "svc_enable=true", "svc_election=true", "vip_loglevel=0")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	held := func(want int) func() bool {
		return func() bool {
			f, err := figuresOf(ctx, b.nodes[0])
			return err == nil && int(f["daymark_datapath_addresses"]) == want
		}
	}
	b.many(0, 1, func(i int) string { return numbered(i).String() })
	until(t, 30*time.Second, "the first Service held", held(1))
	first := require.Value(figuresOf(ctx, b.nodes[0]))(t)["go_goroutines"]

	began := time.Now()
	b.many(1, n, func(i int) string { return numbered(i).String() })
	created := time.Since(began)
	t.Logf("%d Services created in %v, all held %v later", n, created, until(t, 30*time.Second, "all held", held(n)))
	for resource, was := range before {
		if got := b.watches(resource) - was; got != 1 {
			t.Errorf("%d watches of %s, want 1", got, resource)
		}
	}
	var last float64
	until(t, 20*time.Second, "goroutines as few as with one Service", func() bool {
		last = require.Value(figuresOf(ctx, b.nodes[0]))(t)["go_goroutines"]
		return last <= first+20
	})
	t.Logf("%.0f goroutines with one Service, %.0f with %d", first, last, n)
	t.Log("MiB: ", memory(t, agent.Pid(), require.Value(figuresOf(ctx, b.nodes[0]))(t)))
}
