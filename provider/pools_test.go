package provider_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	"daymark/ipam"
	"daymark/provider"
)

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kubevip"}, Data: data}
}

// figures returns the values of the pools' metrics as lines.
func figures(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			out = append(out, strings.Join(append([]string{f.GetName()}, labels...), " ")+" "+ipam.CountOf(uint64(m.Gauge.GetValue())).String())
		}
	}
	slices.Sort(out)
	return out
}

func TestPools(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{annotations.HasIPLabel: "192.0.2.2"}},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{"192.0.2.4/31"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: "one"}}},
	}
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"192.0.2.6/32"}}}
	client := fake.NewClientset(node, cidr, configMap(map[string]string{"cidr-global": "192.0.2.0/29", "interface-shop": "eth7"}))
	factory := informers.NewSharedInformerFactory(client, 0)
	registry, events := prometheus.NewRegistry(), record.NewFakeRecorder(100)
	p := provider.NewPools(provider.PoolsOptions{
		Client: client, Namespace: "kube-system", Name: "kubevip",
		Nodes: factory.Core().V1().Nodes().Informer(), ServiceCIDRs: factory.Networking().V1().ServiceCIDRs().Informer(),
		Services: factory.Core().V1().Services().Lister(),
		Events:   events, Metrics: provider.NewPoolMetrics(registry), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	woken := map[string]bool{}
	ended := make(chan error)
	factory.Start(ctx.Done())
	go func() {
		ended <- p.Run(ctx, func(owners ...string) {
			mu.Lock()
			defer mu.Unlock()
			for _, owner := range owners {
				woken[owner] = true
			}
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	}()
	if _, err := p.Replay(ctx, nil); err != nil {
		t.Fatal(err)
	}
	give := func(name string) string {
		grant, err := p.Ensure(ctx, ipam.Request{Owner: "shop/" + name, Namespace: "shop", Ports: []ipam.Port{{Protocol: "TCP", Port: 80}}}, nil)
		if err != nil {
			return err.Error()
		}
		p.Commit("shop/" + name)
		return grant.List()[0].String()
	}
	edit := func(data map[string]string) {
		if _, err := client.CoreV1().ConfigMaps("kube-system").Update(ctx, configMap(data), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Of .1 to .7, .1 is a node's, .2 the control plane's, .4 and .5 are for pods, .6 for Services.
	if got := give("a"); got != "192.0.2.3" {
		t.Errorf("a: %s", got)
	}
	want := []string{
		"ccm_pool_addresses IPv4 global 2", "ccm_pool_addresses_free IPv4 global 1", "ccm_pool_addresses_shared IPv4 global 0",
		"ccm_pool_addresses_used IPv4 global 1", "ccm_pool_config_broken_keys 0",
	}
	if d := cmp.Diff(want, figures(t, registry)); d != "" {
		t.Error(d)
	}
	give("b")
	if got := give("c"); !strings.Contains(got, "no free IPv4 address in pool global") {
		t.Errorf("c: %s", got)
	}
	if p.Link("shop") != "eth7" || p.Link("other") != "" {
		t.Errorf("links %q and %q", p.Link("shop"), p.Link("other"))
	}

	edit(map[string]string{"cidr-global": "192.0.2.0/29", "interface-shop": "eth8"})
	until(t, "those who go to another link are woken", func() bool { mu.Lock(); defer mu.Unlock(); return woken["shop/a"] && woken["shop/b"] })
	edit(map[string]string{"cidr-global": "192.0.2.0/29", "interface-shop": "eth8", "interface-global": "eth9"})
	until(t, "another namespace has its link", func() bool { return p.Link("other") == "eth9" })
	edit(map[string]string{"cidr-global": "192.0.2.0/33"})
	select {
	case event := <-events.Events:
		if !strings.Contains(event, "BadConfig") || !strings.Contains(event, "192.0.2.0/33") {
			t.Error(event)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no Event about a wrong line")
	}
	if holds := p.Allocator().Holds("shop/a"); !slices.Equal(holds, []netip.Addr{netip.MustParseAddr("192.0.2.3")}) {
		t.Errorf("a wrong line took %v", holds)
	}
	edit(map[string]string{"cidr-global": "192.0.2.0/29,192.0.2.16/32"})
	until(t, "the one that waits is woken", func() bool { mu.Lock(); defer mu.Unlock(); return woken["shop/c"] })
	until(t, "the new address is given", func() bool { return give("c") == "192.0.2.16" })
}
