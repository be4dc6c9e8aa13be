package pools_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// TestBench measures what docs/performance.md says. The client that creates the Services isn't throttled (rest.Config.QPS -1), speaks protobuf as client-go
// does by itself, and has 16 requests under way at a time; with 2 or 4 it takes as long: the processors are what is short. What creating as many of the same takes without a ccm is measured for comparison.
//
// Each figure has an API server of its own: for every Service with a cluster IP the API server walks all that there are, twice, to count them
// (ipallocator.Allocator.Used, Kubernetes 1.36), so Services that are there already make each new one dearer. How much, the second round tells.
func TestBench(t *testing.T) {
	require.Asked(t, "DAYMARK_BENCH", "make bench")
	for _, n := range []int{200, 1000} {
		t.Run(fmt.Sprintf("%d Services without a ccm", n), func(t *testing.T) {
			b := newBed(t)
			b.namespace(t, "alone")
			before := b.expense(t, nil)
			require.NoError(t, b.create(t.Context(), "alone", "svc", n))
			t.Logf("RESULT %d Services, no ccm: created in %s", n, b.expense(t, nil).since(before))
		})
		t.Run(fmt.Sprintf("%d Services at once", n), func(t *testing.T) {
			b := newBed(t)
			b.pools(t, map[string]string{"cidr-global": "198.18.0.0/16"})
			b.namespace(t, "load")
			ccm := b.serve(t)
			require.NoError(t, b.create(t.Context(), "load", "warm", 1))
			b.awaitServed(t, "load", 1, 20*time.Second)
			for round, what := range []string{"", ", beside as many that were there"} {
				before := b.expense(t, ccm)
				require.NoError(t, b.create(t.Context(), "load", fmt.Sprintf("svc-%d", round), n))
				created := time.Since(before.at)
				b.awaitServed(t, "load", (round+1)*n+1, time.Minute)
				t.Logf("RESULT %d Services%s: created in %s, all had addresses after %s", n, what, created.Round(time.Millisecond), b.expense(t, ccm).since(before))
				b.awaitEvent(t, "load", "Service", fmt.Sprintf("svc-%d-%d", round, n-1), "AddressAssigned")
			}
			b.noDuplicates(t)
		})
	}
	t.Run("10000 Services", func(t *testing.T) {
		b := newBed(t)
		b.pools(t, map[string]string{"cidr-global": "198.18.0.0/16"})
		b.namespace(t, "load")
		first := b.serve(t)
		begun := time.Now()
		require.NoError(t, b.create(t.Context(), "load", "svc", 10000))
		created := time.Since(begun)
		b.awaitServed(t, "load", 10000, 3*time.Minute)
		t.Logf("RESULT 10000 Services: created in %s, all had addresses after %s", created.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		t.Logf("RESULT memory of the one that served them: %s", rss(t, first.Pid()))
		require.NoError(t, first.Kill())
		second := b.serve(t)
		b.await(t, "load", "svc-0", nil)
		require.NoError(t, b.create(t.Context(), "load", "late", 1))
		b.awaitServed(t, "load", 10001, time.Minute)
		t.Logf("RESULT memory after a restart: %s", rss(t, second.Pid()))
		text, err := os.ReadFile(second.Log())
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "took over") || strings.Contains(line, "pools in force") || strings.Contains(line, "became leader") || strings.Contains(line, "acquired lease") {
				t.Log("RESULT ", strings.TrimSpace(line))
			}
		}
	})
}

// serve starts a ccm as it runs in a cluster, with its secure port.
func (b *bed) serve(t testing.TB) *netns.Command {
	t.Helper()
	return b.start(t, b.Kubeconfig, "--secure-port=10258", "--bind-address=127.0.0.1",
		"--authentication-kubeconfig="+b.Kubeconfig, "--authorization-kubeconfig="+b.Kubeconfig)
}

// rss returns what a process has in memory: in all, at its most, of its own (anonymous), and of its file.
func rss(t testing.TB, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "Rss") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, ", ")
}
