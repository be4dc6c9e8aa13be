package pools_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// TestStorms plays every storm once, small.
func TestStorms(t *testing.T) { storms(t, 150, 1) }

// TestSoak plays them large: three minutes, and five on a machine that has other work.
func TestSoak(t *testing.T) {
	require.Asked(t, "DAYMARK_SOAK", "make soak")
	storms(t, 1000, 1)
}

func storms(t *testing.T, n, rounds int) {
	b := newBed(t)
	for round := range rounds {
		for _, storm := range []struct {
			name string
			play func(*bed, testing.TB, string, int)
		}{
			{"killed", (*bed).killed}, {"frozen", (*bed).frozen}, {"faults", (*bed).faults}, {"edited", (*bed).edited}, {"broken", (*bed).brokenAmongGood},
			{"counted", (*bed).counted},
		} {
			t.Run(fmt.Sprintf("%s-%d", storm.name, round), func(t *testing.T) {
				namespace := fmt.Sprintf("%s-%d", storm.name, round)
				b.namespace(t, namespace)
				b.pools(t, map[string]string{"cidr-global": "198.18.0.0/20"})
				b.forgetLeader(t)
				h := b.history(t)
				storm.play(b, t, namespace, n)
				h.check(t)
				b.noDuplicates(t)
				b.empty(t, namespace)
			})
		}
	}
}

// forgetLeader spares the next ccm to wait until the lease of one that was killed ends.
func (b *bed) forgetLeader(t testing.TB) {
	t.Helper()
	err := b.client.CoordinationV1().Leases("kube-system").Delete(t.Context(), "kube-vip-cloud-controller", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// empty deletes the Services of a namespace, and waits until the ccm that runs has let them go.
func (b *bed) empty(t testing.TB, namespace string) {
	t.Helper()
	services := b.client.CoreV1().Services(namespace)
	for _, svc := range b.list(t, namespace) {
		require.NoError(t, services.Delete(t.Context(), svc.Name, metav1.DeleteOptions{}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(b.list(t, namespace)) > 0 {
		again := time.NewTimer(100 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%d Services do not go", len(b.list(t, namespace)))
		}
	}
}

// under creates n Services while during runs, and waits for both.
func (b *bed) under(t testing.TB, namespace string, n int, during func()) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- b.create(t.Context(), namespace, "svc", n) }()
	during()
	require.NoError(t, <-ended)
}

// killed kills the ccm in the middle of creations, three times.
func (b *bed) killed(t testing.TB, namespace string, n int) {
	c := b.keep(t, "one", b.Kubeconfig)
	b.under(t, namespace, n, func() {
		for i := 1; i <= 3; i++ {
			b.awaitSome(t, namespace, n*i/5)
			require.NoError(t, c.process().Kill())
		}
	})
	b.awaitServed(t, namespace, n, 90*time.Second)
}

// frozen stops the leader of two in the middle of creations and deletions, and wakes it when the other has taken over.
func (b *bed) frozen(t testing.TB, namespace string, n int) {
	replicas := map[string]*replica{"one": b.keep(t, "one", b.Kubeconfig), "two": b.keep(t, "two", b.Kubeconfig)}
	services := b.client.CoreV1().Services(namespace)
	var first, second string
	var frozen, other *netns.Command
	b.under(t, namespace, n, func() {
		b.awaitSome(t, namespace, n/5)
		first = b.holder(t)
		frozen = replicas[replicaOf(first)].process()
		require.NoError(t, frozen.Signal(syscall.SIGSTOP))
		// What the frozen one believes to be free or taken becomes wrong.
		for _, svc := range b.list(t, namespace)[:n/10] {
			require.NoError(t, services.Delete(t.Context(), svc.Name, metav1.DeleteOptions{}))
		}
		second = b.awaitHolder(t, first)
		other = replicas[replicaOf(second)].process()
		b.awaitSome(t, namespace, n/4)
		require.NoError(t, frozen.Signal(syscall.SIGCONT))
	})
	select {
	case <-frozen.Done():
	case <-time.After(20 * time.Second):
		t.Error("the one that was frozen goes on")
	}
	select {
	case <-other.Done(): // it lost the lease on a busy machine, and a new process has it
	default:
		if now := b.holder(t); now != second {
			t.Errorf("the leader was %s and is %s", second, now)
		}
	}
	b.awaitServed(t, namespace, n-n/10, 90*time.Second)
}

// faults serves through a proxy that does harm to a third of the writes.
func (b *bed) faults(t testing.TB, namespace string, n int) {
	p := b.proxy(t, 0.35)
	b.keep(t, "one", p.kubeconfig)
	b.under(t, namespace, n, func() {})
	b.awaitServed(t, namespace, n, 2*time.Minute)
	p.mu.Lock()
	t.Logf("writes by fault: %v", p.counts)
	p.mu.Unlock()
}

// counted serves through a proxy that only counts: what the API server has to do for each Service beside creating it.
func (b *bed) counted(t testing.TB, namespace string, n int) {
	p := b.proxy(t, 0)
	b.keep(t, "one", p.kubeconfig)
	b.under(t, namespace, n, func() {})
	b.awaitServed(t, namespace, n, 90*time.Second)
	b.awaitEvent(t, namespace, "Service", fmt.Sprintf("svc-%d", n-1), "AddressAssigned")
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("requests: %v", p.requests)
	if got := p.requests["PATCH services"]; got != n || p.requests["PUT services"] > 0 {
		t.Errorf("%d patches for %d Services, and %v in all", got, n, p.requests)
	}
	if got := p.requests["POST events"]; got > n+20 { // the leader's, beside one for each Service
		t.Errorf("%d Events for %d Services", got, n)
	}
}

// edited changes the ConfigMap over and over while Services are created and deleted.
func (b *bed) edited(t testing.TB, namespace string, n int) {
	b.keep(t, "one", b.Kubeconfig)
	stop := make(chan struct{})
	edits := make(chan int)
	go func() {
		variants := []map[string]string{
			{"cidr-global": "198.18.0.0/20"},
			{"cidr-global": "198.18.0.0/22", "cidr-" + namespace: "198.18.16.0/24"},
			{"cidr-global": "198.18.0.0/33"},
			{"range-global": "198.18.4.0-198.18.7.255", "search-order": "desc"},
			{},
		}
		i := 0
		for ; ; i++ {
			select {
			case <-stop:
				edits <- i
				return
			case <-time.After(20 * time.Millisecond):
				b.pools(t, variants[i%len(variants)])
			}
		}
	}()
	services := b.client.CoreV1().Services(namespace)
	b.under(t, namespace, n, func() {
		b.awaitSome(t, namespace, n/3)
		for _, svc := range b.list(t, namespace)[:n/10] {
			require.NoError(t, services.Delete(t.Context(), svc.Name, metav1.DeleteOptions{}))
		}
	})
	close(stop)
	t.Logf("%d edits", <-edits)
	b.pools(t, map[string]string{"cidr-global": "198.18.0.0/20"})
	b.awaitServed(t, namespace, n-n/10, time.Minute)
}

// brokenAmongGood has Services that can't be served among the others.
func (b *bed) brokenAmongGood(t testing.TB, namespace string, _ int) {
	b.keep(t, "one", b.Kubeconfig)
	require.NoError(t, b.create(t.Context(), namespace, "broken", 1, annotate(annotations.LoadBalancerIPs, "198.18.0.1,no address,300.300.300.300")))
	require.NoError(t, b.create(t.Context(), namespace, "zone", 1, annotate(annotations.LoadBalancerIPs, "fe80::1%eth0")))
	require.NoError(t, b.create(t.Context(), namespace, "spec", 1, func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "198.18.0.256" }))
	require.NoError(t, b.create(t.Context(), namespace, "good", 100))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 100 {
		_, err := controlplane.Await(ctx, b.client.CoreV1().Services(namespace), fmt.Sprintf("good-%d", i), func(svc *corev1.Service) bool { return len(addresses(svc)) == 1 })
		require.NoError(t, err)
	}
	for _, name := range []string{"broken-0", "zone-0", "spec-0"} {
		b.awaitEvent(t, namespace, "Service", name, "AddressRefused")
	}
}

// awaitSome waits until at least n Services of the namespace have an address.
func (b *bed) awaitSome(t testing.TB, namespace string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for {
		have := 0
		for _, svc := range b.list(t, namespace) {
			if len(addresses(&svc)) > 0 {
				have++
			}
		}
		if have >= n {
			return
		}
		again := time.NewTimer(time.Duration(20+rand.IntN(60)) * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("only %d of %d Services have an address", have, n)
		}
	}
}

func (b *bed) holder(t testing.TB) string {
	t.Helper()
	lease, err := b.client.CoordinationV1().Leases("kube-system").Get(t.Context(), "kube-vip-cloud-controller", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// awaitHolder waits until somebody else than before holds the lease, and returns who.
func (b *bed) awaitHolder(t testing.TB, before string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	lease, err := controlplane.Await(ctx, b.client.CoordinationV1().Leases("kube-system"), "kube-vip-cloud-controller", func(l *coordinationv1.Lease) bool {
		return l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != before
	})
	require.NoError(t, err)
	return *lease.Spec.HolderIdentity
}
