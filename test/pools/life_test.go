package pools_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/require"
)

func has(text string) func(*corev1.Service) bool {
	return func(svc *corev1.Service) bool { return svc.Annotations[annotations.LoadBalancerIPs] == text }
}

// TestLife plays the life of Services step by step on one ccm.
func TestLife(t *testing.T) {
	b := newBed(t)
	b.pools(t, map[string]string{"cidr-global": "198.18.0.0/29", "cidr-shop": "198.18.1.1/32", "interface-shop": "eth7"})
	b.alone(t, b.Kubeconfig)
	b.namespace(t, "shop")
	services := b.client.CoreV1().Services("default")
	shop := b.client.CoreV1().Services("shop")
	ctx := t.Context()

	t.Run("an address, a label and a finalizer in one write", func(t *testing.T) {
		require.Value(services.Create(ctx, service("web"), metav1.CreateOptions{}))(t)
		svc := b.await(t, "default", "web", has("198.18.0.1"))
		if svc.Spec.LoadBalancerIP != "198.18.0.1" || svc.Labels["implementation"] != "kube-vip" || len(svc.Finalizers) != 1 {
			t.Errorf("%+v", svc)
		}
		b.awaitEvent(t, "default", "Service", "web", "AddressAssigned 198.18.0.1 from pool global")
	})
	t.Run("a namespace's own pool, its link, and a Service that waits", func(t *testing.T) {
		require.Value(shop.Create(ctx, service("a"), metav1.CreateOptions{}))(t)
		svc := b.await(t, "shop", "a", has("198.18.1.1"))
		if svc.Annotations[annotations.ServiceInterface] != "eth7" {
			t.Errorf("%+v", svc.Annotations)
		}
		require.Value(shop.Create(ctx, service("b"), metav1.CreateOptions{}))(t)
		b.awaitEvent(t, "shop", "Service", "b", "PoolExhausted")
	})
	t.Run("a deleted Service's address goes to the one that waits, now", func(t *testing.T) {
		require.NoError(t, shop.Delete(ctx, "a", metav1.DeleteOptions{}))
		begun := time.Now()
		b.await(t, "shop", "b", has("198.18.1.1"))
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		require.NoError(t, controlplane.AwaitGone(ctx, shop, "a"))
	})
	t.Run("a wider pool serves those that wait, now", func(t *testing.T) {
		require.Value(shop.Create(ctx, service("c"), metav1.CreateOptions{}))(t)
		b.awaitEvent(t, "shop", "Service", "c", "PoolExhausted")
		b.pools(t, map[string]string{"cidr-global": "198.18.0.0/29", "cidr-shop": "198.18.1.1/32,198.18.1.9/32", "interface-shop": "eth7"})
		b.await(t, "shop", "c", has("198.18.1.9"))
	})
	t.Run("a request is followed when it changes, and when it goes", func(t *testing.T) {
		require.Value(services.Create(ctx, service("asks", annotate(annotations.LoadBalancerIPs, "198.18.0.4")), metav1.CreateOptions{}))(t)
		b.await(t, "default", "asks", func(s *corev1.Service) bool { return s.Spec.LoadBalancerIP == "198.18.0.4" })
		b.change(t, "default", "asks", annotate(annotations.LoadBalancerIPs, "198.18.0.5"))
		b.await(t, "default", "asks", func(s *corev1.Service) bool { return s.Spec.LoadBalancerIP == "198.18.0.5" })
		b.change(t, "default", "asks", func(svc *corev1.Service) { delete(svc.Annotations, annotations.LoadBalancerIPs) })
		b.await(t, "default", "asks", func(s *corev1.Service) bool { return s.Annotations[annotations.LoadBalancerIPs] != "" })
	})
	t.Run("what is taken, excluded or unparsable is refused, and nothing is written", func(t *testing.T) {
		for name, asks := range map[string]string{"taken": "198.18.0.1", "outside": "192.0.2.1", "broken": "198.18.0.999"} {
			require.Value(services.Create(ctx, service(name, annotate(annotations.LoadBalancerIPs, asks)), metav1.CreateOptions{}))(t)
			b.awaitEvent(t, "default", "Service", name, "AddressRefused")
			svc := require.Value(services.Get(ctx, name, metav1.GetOptions{}))(t)
			if svc.Spec.LoadBalancerIP != "" || len(svc.Labels) > 0 || svc.Annotations[annotations.LoadBalancerIPs] != asks {
				t.Errorf("written: %+v", svc)
			}
			require.NoError(t, services.Delete(ctx, name, metav1.DeleteOptions{}))
		}
	})
	t.Run("a Service that is no load balancer any more gives all back", func(t *testing.T) {
		b.change(t, "default", "web", clusterIP)
		b.await(t, "default", "web", func(s *corev1.Service) bool {
			return len(s.Annotations) == 0 && len(s.Labels) == 0 && len(s.Finalizers) == 0 && s.Spec.LoadBalancerIP == ""
		})
		require.Value(services.Create(ctx, service("next"), metav1.CreateOptions{}))(t)
		b.await(t, "default", "next", has("198.18.0.1"))
	})
	t.Run("wrong lines are told of, and hurt nobody", func(t *testing.T) {
		b.pools(t, map[string]string{"cidr-global": "198.18.0.0/29", "cidr-shop": "198.18.1.0/33", "interface-shop": "eth7"})
		b.awaitEvent(t, "kube-system", "ConfigMap", "kubevip", "BadConfig")
		require.Value(services.Create(ctx, service("other"), metav1.CreateOptions{}))(t)
		b.await(t, "default", "other", func(s *corev1.Service) bool { return len(addresses(s)) == 1 })
	})
	b.noDuplicates(t)
}
