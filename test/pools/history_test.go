package pools_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"daymark/test/require"
)

// history follows every write of a Service, in the order in which etcd has them, and notes each that gives an address which another
// load balancer has at that moment, and each that takes one away from a Service that goes on.
type history struct {
	mu     sync.Mutex
	has    map[string][]netip.Addr // by owner
	owners map[netip.Addr]map[string]bool
	twice  []string
	lost   []string
	writes int
	done   chan struct{}
	stop   context.CancelFunc
}

func (b *bed) history(t testing.TB) *history {
	t.Helper()
	services := b.client.CoreV1().Services("")
	list, err := services.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	h := &history{has: map[string][]netip.Addr{}, owners: map[netip.Addr]map[string]bool{}, done: make(chan struct{}), stop: cancel}
	for i := range list.Items {
		h.note(watch.Event{Type: watch.Added, Object: &list.Items[i]})
	}
	w, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return services.Watch(ctx, o)
		},
	})
	require.NoError(t, err)
	go func() {
		defer close(h.done)
		for e := range w.ResultChan() {
			h.note(e)
		}
	}()
	t.Cleanup(func() { cancel(); <-h.done })
	return h
}

func (h *history) note(e watch.Event) {
	svc, ok := e.Object.(*corev1.Service)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes++
	owner := svc.Namespace + "/" + svc.Name
	had := h.has[owner]
	for _, addr := range had {
		delete(h.owners[addr], owner)
	}
	delete(h.has, owner)
	if e.Type == watch.Deleted || svc.DeletionTimestamp != nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	h.has[owner] = addresses(svc)
	for _, addr := range had {
		if !slices.Contains(h.has[owner], addr) {
			h.lost = append(h.lost, fmt.Sprintf("%s by %s at %s, which has %v now", addr, owner, svc.ResourceVersion, h.has[owner]))
		}
	}
	for _, addr := range h.has[owner] {
		if h.owners[addr] == nil {
			h.owners[addr] = map[string]bool{}
		}
		h.owners[addr][owner] = true
		if len(h.owners[addr]) > 1 {
			h.twice = append(h.twice, fmt.Sprintf("%s: %v at %s", addr, h.owners[addr], svc.ResourceVersion))
		}
	}
}

// check fails when an address had two owners at any moment, or a Service lost one.
func (h *history) check(t testing.TB) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range h.twice {
		t.Error("given twice: " + text)
	}
	for _, text := range h.lost {
		t.Error("lost: " + text)
	}
	t.Logf("%d writes of Services seen", h.writes)
}
