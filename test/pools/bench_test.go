package pools_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"daymark/test/require"
)

// TestBench measures what docs/performance.md says. It runs only when DAYMARK_BENCH is 1.
func TestBench(t *testing.T) {
	if os.Getenv("DAYMARK_BENCH") != "1" {
		t.Skip("DAYMARK_BENCH=1 runs it")
	}
	for _, n := range []int{200, 1000} {
		t.Run(fmt.Sprintf("%d Services at once", n), func(t *testing.T) {
			b := newBed(t)
			b.pools(t, map[string]string{"cidr-global": "198.18.0.0/16"})
			b.namespace(t, "load")
			b.start(t, b.Kubeconfig)
			require.NoError(t, b.create(t.Context(), "load", "warm", 1))
			b.awaitServed(t, "load", 1, 20*time.Second)
			begun := time.Now()
			require.NoError(t, b.create(t.Context(), "load", "svc", n))
			created := time.Since(begun)
			b.awaitServed(t, "load", n+1, time.Minute)
			t.Logf("RESULT %d Services: created in %s, all had addresses after %s", n, created.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
			b.noDuplicates(t)
		})
	}
	t.Run("10000 Services", func(t *testing.T) {
		b := newBed(t)
		b.pools(t, map[string]string{"cidr-global": "198.18.0.0/16"})
		b.namespace(t, "load")
		first := b.start(t, b.Kubeconfig)
		begun := time.Now()
		require.NoError(t, b.create(t.Context(), "load", "svc", 10000))
		created := time.Since(begun)
		b.awaitServed(t, "load", 10000, 3*time.Minute)
		t.Logf("RESULT 10000 Services: created in %s, all had addresses after %s", created.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		t.Logf("RESULT memory of the one that served them: %s", rss(t, first.Pid()))
		require.NoError(t, first.Kill())
		second := b.start(t, b.Kubeconfig)
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

func rss(t testing.TB, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, ", ")
}
