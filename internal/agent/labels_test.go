package agent_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"daymark/annotations"
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

// Who holds the control plane's addresses removes the label that its predecessor left when it died, and no other; a label that is
// removed while it is true is put back.
func TestLabelsOfTheControlPlane(t *testing.T) {
	const key = "kube-vip.io/has-ip"
	story(t, "a take-over", func(t *testing.T) {
		node := func(name string, labels map[string]string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		}
		client := fake.NewClientset(node("n1", nil),
			node("dead", map[string]string{key: "192.0.2.1_2001-db8--1", "service-provided.kube-vip.io/web.default": "192.0.2.3"}),
			node("of-another-cluster-address", map[string]string{key: "192.0.2.2"}))
		l := agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: client, ControlPlane: true, Single: true, Logger: quietLog(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- l.Run(ctx) }()
		go func() { done <- agent.NodeWatch{Client: client, Node: "n1", Labels: l}.Run(ctx) }()
		expect := func(when string, want map[string]string) {
			t.Helper()
			synctest.Wait()
			nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			must(t, err)
			got := make(map[string]string)
			for _, n := range nodes.Items {
				if v, ok := n.Labels[key]; ok {
					got[n.Name] = v
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(when, d)
			}
		}
		time.Sleep(10 * time.Second)
		expect("before", map[string]string{"dead": "192.0.2.1_2001-db8--1", "of-another-cluster-address": "192.0.2.2"})
		client.ClearActions()
		l.SetControlPlane([]netip.Addr{netipMust("192.0.2.1")})
		time.Sleep(500 * time.Millisecond)
		l.SetControlPlane([]netip.Addr{netipMust("2001:db8::1"), netipMust("192.0.2.1")})
		time.Sleep(2 * time.Second)
		both := map[string]string{"n1": "192.0.2.1_2001-db8--1", "dead": "192.0.2.1_2001-db8--1", "of-another-cluster-address": "192.0.2.2"}
		expect("while the predecessor may remove its own", both)
		time.Sleep(2 * time.Second)
		delete(both, "dead")
		expect("after", both)
		lists, patches := 0, 0
		for _, a := range client.Actions() {
			switch a.GetVerb() {
			case "list":
				lists++
			case "patch":
				patches++
			}
		}
		if lists != 3 || patches != 3 { // two lists are this test's
			t.Errorf("%d lists and %d patches", lists-2, patches)
		}
		other, err := client.CoreV1().Nodes().Get(t.Context(), "dead", metav1.GetOptions{})
		must(t, err)
		if len(other.Labels) != 1 {
			t.Errorf("the dead one's labels are %v", other.Labels)
		}
		_, err = client.CoreV1().Nodes().Update(t.Context(), node("n1", nil), metav1.UpdateOptions{})
		must(t, err)
		time.Sleep(time.Second)
		expect("after somebody removed it", both)

		// Who does not hold them any more removes nobody's.
		l.SetControlPlane(nil)
		_, err = client.CoreV1().Nodes().Update(t.Context(), node("dead", map[string]string{key: "192.0.2.1_2001-db8--1"}), metav1.UpdateOptions{})
		must(t, err)
		time.Sleep(10 * time.Second)
		both["dead"] = "192.0.2.1_2001-db8--1"
		delete(both, "n1")
		expect("after it moved on", both)
		cancel()
		must(t, <-done)
		must(t, <-done)
	})

	story(t, "without an election every node has it", func(t *testing.T) {
		client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}},
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", Labels: map[string]string{key: "192.0.2.1"}}})
		l := agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: client, ControlPlane: true, Logger: quietLog(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.SetControlPlane([]netip.Addr{netipMust("192.0.2.1")})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		other, err := client.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
		must(t, err)
		if other.Labels[key] == "" {
			t.Error("another holder's label was removed")
		}
		cancel()
		must(t, <-done)
	})

	story(t, "an address that is the control plane's no more", func(t *testing.T) {
		client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		l := agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: client, ControlPlane: true, Logger: quietLog(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		addrs := make(changing)
		p := newPlane(t, false, func(c *agent.ControlPlaneConfig) { c.Resolver, c.Labels = addrs, l })
		addrs <- []netip.Addr{netipMust("192.0.2.1"), netipMust("192.0.2.2")}
		p.grant("control-plane failover")
		for _, now := range [][]netip.Addr{{netipMust("192.0.2.2"), netipMust("192.0.2.3")}, {netipMust("192.0.2.3")}, nil} {
			addrs <- now
			time.Sleep(time.Second)
			synctest.Wait()
			node, err := client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
			must(t, err)
			if got, want := node.Labels[key], annotations.FormatLabelAddresses(now); got != want {
				t.Errorf("the label is %q, not %q", got, want)
			}
		}
		cancel()
		must(t, <-done)
	})

	story(t, "a Node that changed since it was read is read again", func(t *testing.T) {
		dead := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "dead", ResourceVersion: "7", Labels: map[string]string{
			"service-provided.kube-vip.io/web.default": "192.0.2.3",
		}}}
		client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, dead)
		var tries []string
		client.PrependReactor("patch", "nodes", func(a clienttesting.Action) (bool, runtime.Object, error) {
			patch := a.(clienttesting.PatchAction)
			tries = append(tries, patch.GetName()+" "+string(patch.GetPatch()))
			if len(tries) == 1 {
				return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "nodes"}, "dead", errors.New("it is at 8 by now"))
			}
			return false, nil, nil
		})
		l := agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: client, Services: true, Logger: quietLog(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.SetGone([]string{"dead"})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		const patch = `dead {"metadata":{"labels":{"service-provided.kube-vip.io/web.default":null},"resourceVersion":"7"}}`
		if d := cmp.Diff([]string{patch, patch}, tries); d != "" {
			t.Error(d)
		}
		cancel()
		must(t, <-done)
	})
}

// A Service whose name and namespace don't fit into a key has one of its own all the same.
func TestLabelsOfLongNames(t *testing.T) {
	story(t, "two long names that begin alike", func(t *testing.T) {
		client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		l := agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: client, Services: true, Logger: quietLog(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		fits := agent.Name{Namespace: strings.Repeat("n", 31), Name: strings.Repeat("s", 31)}
		for _, name := range []agent.Name{
			fits, {Namespace: fits.Namespace + "n", Name: fits.Name}, {Namespace: strings.Repeat("n", 63), Name: strings.Repeat("s", 63)},
			{Namespace: strings.Repeat("n", 62) + "m", Name: strings.Repeat("s", 63)},
		} {
			l.SetService(name, []netip.Addr{netipMust("192.0.2.3")})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		node, err := client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		must(t, err)
		if len(node.Labels) != 4 || node.Labels["service-provided.kube-vip.io/"+fits.Name+"."+fits.Namespace] == "" {
			t.Errorf("four Services have %d labels: %v", len(node.Labels), node.Labels)
		}
		for k := range node.Labels {
			if problems := validation.IsQualifiedName(k); len(problems) > 0 {
				t.Errorf("%s: %s", k, problems)
			}
		}
		cancel()
		must(t, <-done)
	})
}
