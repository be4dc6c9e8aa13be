package agent_test

import (
	"context"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"

	"daymark/internal/agent"
)

func TestLabels(t *testing.T) {
	long := agent.Name{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("s", 63)}
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{
			"kept": "x", "kube-vip.io/has-ip": "192.0.2.9", "service-provided.kube-vip.io/old.default": "192.0.2.8",
		}}})
		labels := func() map[string]string {
			time.Sleep(time.Second)
			synctest.Wait()
			node, err := client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
			must(t, err)
			return maps.Clone(node.Labels)
		}
		l := agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: client, ControlPlane: true, Services: true, Logger: quietLog(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()

		if d := cmp.Diff(map[string]string{"kept": "x"}, labels()); d != "" {
			t.Error("what a crashed run left:", d)
		}
		l.SetControlPlane([]netip.Addr{netipMust("2001:db8::"), netipMust("192.0.2.1")})
		l.SetService(agent.Name{Namespace: "default", Name: "web"}, []netip.Addr{netipMust("::1")})
		l.SetService(long, []netip.Addr{netipMust("192.0.2.3")})
		got := labels()
		for k, v := range got {
			if problems := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...); len(problems) > 0 {
				t.Errorf("%s=%s: %s", k, v, problems)
			}
			if strings.Contains(k, "sss") {
				delete(got, k)
			}
		}
		want := map[string]string{
			"kept": "x", "kube-vip.io/has-ip": "192.0.2.1_2001-db8--0", "service-provided.kube-vip.io/web.default": "0--1",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		l.SetService(agent.Name{Namespace: "default", Name: "web"}, nil)
		delete(want, "service-provided.kube-vip.io/web.default")
		got = labels()
		maps.DeleteFunc(got, func(k, _ string) bool { return strings.Contains(k, "sss") })
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		cancel()
		must(t, <-done)
		node, err := client.CoreV1().Nodes().Get(context.WithoutCancel(t.Context()), "n1", metav1.GetOptions{})
		must(t, err)
		if d := cmp.Diff(map[string]string{"kept": "x"}, node.Labels); d != "" {
			t.Error("after the end:", d)
		}
	})
}
