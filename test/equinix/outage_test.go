package equinix_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/metalapi"
	"daymark/test/require"
)

// apiDown cuts every connection to the vendor's API for a while, in the middle of Services' lives.
func (b *bed) apiDown(t *testing.T, length time.Duration) {
	v := b.vendor(t)
	name, _ := v.node(t, 0)
	v.start(t)
	v.service(t, "old")
	old := v.has(t, "old")
	v.becomes(t, name, func(n *corev1.Node) bool { return n.Annotations[annotations.NodeBGPKeys] != "" })
	attempts := v.cut()
	for i := range 20 {
		v.service(t, fmt.Sprintf("new-%d", i))
	}
	v.delete(t, "old")
	v.ready(t, name, corev1.ConditionUnknown)
	<-time.After(length)
	if got := v.owned(); !slices.Equal(got, []string{old}) {
		t.Errorf("while it is down the project owns %v", got)
	}
	during := attempts()
	v.down.Store(false)
	begun := time.Now()
	for i := range 20 {
		v.has(t, fmt.Sprintf("new-%d", i))
	}
	v.gone(t, "old")
	t.Logf("API down for %s: %d attempts meanwhile; all was done %s after its return", length, during, time.Since(begun).Round(10*time.Millisecond))
	if got := v.owned(); len(got) != 20 || slices.Contains(got, old) {
		t.Errorf("after its return the project owns %d: %v", len(got), got)
	}
	v.becomes(t, name, func(n *corev1.Node) bool { return n.Annotations[annotations.NodeBGPKeys] != "" })
	// At the start those under way fail together, each with its attempts; then one call tries for all, and the Nodes' listing.
	if most := 60 + int(length.Seconds()); during > most {
		t.Errorf("%d attempts, want at most %d", during, most)
	}
}

// storm answers every call with 429 for a while.
func (b *bed) storm(t *testing.T, length time.Duration) {
	v := b.vendor(t)
	v.start(t)
	v.service(t, "first")
	v.has(t, "first")
	v.api.ResetCalls()
	v.api.Inject(metalapi.Fault{Status: 429, RetryAfter: time.Second})
	since := time.Now()
	for i := range 50 {
		v.service(t, fmt.Sprintf("web-%d", i))
	}
	<-time.After(length)
	during, lasted := v.count(""), time.Since(since)
	v.api.Heal()
	begun := time.Now()
	await(t, "all are served", func() bool { return v.served(t) == 51 })
	t.Logf("429 for %s: %d attempts for 50 Services; all had their address %s later", length, during, time.Since(begun).Round(10*time.Millisecond))
	// No more than four calls are under way, and each waits a second before it tries again.
	if most := 4 * (int(lasted.Seconds()) + 2); during > most {
		t.Errorf("%d attempts in %s, want at most %d", during, lasted, most)
	}
	if n := len(v.owned()); n != 51 {
		t.Errorf("the project owns %d addresses", n)
	}
}

// many counts the calls of a cluster of some size against the formula of docs/equinix.md.
func (b *bed) many(t *testing.T, nodes, services int) {
	v := b.vendor(t)
	for n := range nodes {
		v.node(t, n)
	}
	begun := time.Now()
	v.start(t)
	var users errgroup.Group
	for u := range 4 {
		users.Go(func() error {
			for n := u; n < services; n += 4 {
				if _, err := v.Client.CoreV1().Services("default").Create(t.Context(), loadBalancer(fmt.Sprintf("web-%d", n)), metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, users.Wait())
	await(t, "all are served", func() bool { return v.served(t) == services })
	served := time.Since(begun)
	await(t, "all Nodes have their peers", func() bool {
		all := require.Value(v.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}))(t)
		return !slices.ContainsFunc(all.Items, func(n corev1.Node) bool {
			return n.Annotations[annotations.NodeBGPKeys] == "" || !initialized(&n)
		})
	})
	calls := v.api.Calls()
	t.Logf("%d Services and %d Nodes from nothing in %s (served) and %s: %v", services, nodes, served.Round(time.Second), time.Since(begun).Round(time.Second), calls)
	// A listing of devices at the start, one after 30 s, and one each 10 s while a Node is unknown.
	listings := 2 + int(time.Since(begun)/(10*time.Second))
	for pattern, most := range map[string]int{
		"POST /projects/{project}/ips": services, "GET /projects/{project}/ips": 1, "GET /projects/{project}/devices": listings, "GET /devices/{device}": 0,
		"GET /devices/{device}/bgp/neighbors": 2 * nodes, "POST /devices/{device}/bgp/sessions": nodes, "GET /projects/{project}/bgp-config": 1,
		"POST /projects/{project}/bgp-configs": 1,
	} {
		if calls[pattern] > most {
			t.Errorf("%s: %d calls, want at most %d", pattern, calls[pattern], most)
		}
		delete(calls, pattern)
	}
	if len(calls) > 0 {
		t.Errorf("other calls: %v", calls)
	}
	v.api.ResetCalls()
	const quiet = 2 * time.Second
	<-time.After(quiet)
	if n := v.count(""); n > 1 {
		t.Errorf("%d calls in %s of quiet: %v", n, quiet, v.api.Calls())
	}
}
