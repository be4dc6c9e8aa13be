package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// Who holds what is decided by the kind of election that a Service asks for, and changes with what happens to its
// holder, without anything being held by two nodes or by none.
func TestElections(t *testing.T) {
	e := newElected(t)
	t.Run("what asks is spread, the rest is with the lease's holder", e.onDemand)
	t.Run("the control plane's lease is where and as it was asked for", e.controlPlaneLease)
	t.Run("a Service that asks no more is with the lease's holder, and one that asks again where it was", e.changes)
	t.Run("a node that is not ready lets go, and takes again", e.notReady)
	t.Run("what is passed to an agent that has just started is held at once, while another is dead", e.justStarted)
	t.Run("Services of one lease name are together after the end of their node's agent", e.together)
}

func (e *elected) onDemand(t *testing.T) {
	e.settle(t, func() string {
		if w := e.where(e.asking); len(w) < 2 {
			return fmt.Sprintf("what asks for an election of its own is on %v only", w)
		}
		return ""
	})
	e.rest(t)
	list := require.Value(e.client.CoordinationV1().Leases("").List(t.Context(), metav1.ListOptions{}))(t)
	var got []string
	for _, l := range list.Items {
		if name := l.Namespace + "/" + l.Name; !strings.HasPrefix(l.Name, "apiserver-") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{
		"kube-system/kube-vip-member-services-n1", "kube-system/kube-vip-member-services-n2", "kube-system/kube-vip-member-services-n3",
		"kube-system/kube-vip-services", cpLease,
	}
	if !slices.Equal(got, want) {
		t.Errorf("leases are %v, not %v", got, want)
	}
	e.settle(t, e.unowned)
	for name, group := range e.groups {
		t.Logf("%s is on %v", name, e.where(group))
	}
}

// unowned says which member's Lease does not name its Node.
func (e *elected) unowned() string {
	for _, n := range e.nodes {
		node := require.Value(e.client.CoreV1().Nodes().Get(e.t.Context(), n.Name(), metav1.GetOptions{}))(e.t)
		lease := require.Value(e.client.CoordinationV1().Leases("kube-system").Get(e.t.Context(), "kube-vip-member-services-"+n.Name(), metav1.GetOptions{}))(e.t)
		if o := lease.OwnerReferences; len(o) != 1 || o[0].UID != node.UID {
			return fmt.Sprintf("the owners of the member Lease of %s are %v", n.Name(), o)
		}
	}
	return ""
}

func (e *elected) controlPlaneLease(t *testing.T) {
	lease := require.Value(e.client.CoordinationV1().Leases("net").Get(t.Context(), "plndr-cp-lock", metav1.GetOptions{}))(t)
	for key, want := range map[string]string{"team": "net", "ticket": "NET-7"} {
		if got := lease.Annotations[key]; got != want {
			t.Errorf("annotation %s of the lease is %q, not %q", key, got, want)
		}
	}
}

func (e *elected) changes(t *testing.T) {
	e.settle(t)
	e.rest(t)
	holder := e.holder(t, "kube-system/kube-vip-services")
	i := slices.IndexFunc(e.asking, func(a netip.Addr) bool { return e.on(a) != holder })
	if i < 0 {
		t.Fatalf("what asks for an election of its own is all on %s, which has the lease", holder)
	}
	addr, began := e.asking[i], time.Now()
	place := e.on(addr)
	e.ask(t, fmt.Sprint("asking-", i), "false")
	e.settle(t, func() string {
		if at := e.on(addr); at != holder {
			return fmt.Sprintf("%s, which is under the lease now, is on %s, not %s", addr, at, holder)
		}
		return ""
	})
	e.ask(t, fmt.Sprint("asking-", i), "true")
	e.settle(t, func() string {
		if at := e.on(addr); at != place {
			return fmt.Sprintf("%s, which is spread again, is on %s, not %s where it was", addr, at, place)
		}
		return ""
	})
	e.smoothly(t, began)
}

// ask sets the annotation of a Service.
func (e *elected) ask(t *testing.T, name, value string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, annotations.ForcePerServiceElection, value)
	require.Value(e.client.CoreV1().Services("default").Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}))(t)
}

func (e *elected) notReady(t *testing.T) {
	e.settle(t)
	e.rest(t)
	node := e.cluster.Node(e.on(e.controlPlane))
	spread := slices.Contains(e.where(slices.Concat(e.asking, e.groups["default/web"], e.groups["default/mail"], e.groups["shop/mail"])), node.Name())
	began := time.Now()
	e.mark(t, node, corev1.TaintNodeNotReady)
	e.settle(t, func() string {
		if slices.Contains(e.where(e.all()), node.Name()) {
			return node.Name() + " is not ready, and has addresses"
		}
		return ""
	})
	e.over(t)
	e.mark(t, node, "")
	back := func() string {
		if spread && !slices.Contains(e.where(e.all()), node.Name()) { // what is under a lease stays where it is
			return node.Name() + " is ready, and has no address"
		}
		return ""
	}
	e.settle(t, back)
	e.over(t)
	// The condition alone says as much: the taint is another's, who may be away.
	require.NoError(t, node.SetReady(t.Context(), corev1.ConditionFalse))
	e.settle(t, func() string {
		if slices.Contains(e.where(e.all()), node.Name()) {
			return node.Name() + " has no taint, is not ready, and has addresses"
		}
		return ""
	})
	e.over(t)
	require.NoError(t, node.SetReady(t.Context(), corev1.ConditionTrue))
	e.settle(t, back)
	e.over(t)
	// Where no node is ready, what any of them has is better than nothing.
	for _, n := range e.nodes {
		e.mark(t, n, corev1.TaintNodeUnreachable)
	}
	pause := time.NewTimer(3 * time.Second) // a few retry periods
	<-pause.C
	e.settle(t)
	e.over(t)
	for _, n := range e.nodes {
		e.mark(t, n, "")
	}
	e.settle(t)
	e.smoothly(t, began)
}

// justStarted has the holder's agent die, the next one start again, and the third node be cordoned a second later: the one that
// started has not seen for how long the dead one is silent, whose record lists what it is passed.
func (e *elected) justStarted(t *testing.T) {
	e.settle(t)
	e.rest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	dead := e.holder(t, "kube-system/kube-vip-services")
	require.NoError(t, e.agents[dead].Kill())
	e.settle(t, func() string {
		if slices.Contains(e.where(e.all()), dead) {
			return "the agent of " + dead + " is dead, and its node has addresses"
		}
		return ""
	})
	second := e.holder(t, "kube-system/kube-vip-services")
	i := slices.IndexFunc(e.nodes, func(n *controlplane.Node) bool { return n.Name() != dead && n.Name() != second })
	third := e.nodes[i]
	began := time.Now()
	require.NoError(t, e.agents[second].Stop(ctx))
	e.agents[second] = e.agent(e.cluster.Node(second), e.env...)
	pause := time.NewTimer(time.Second)
	<-pause.C
	e.cordon(t, third, true)
	e.settle(t, func() string {
		if w := e.where(e.all()); len(w) != 1 || w[0] != second {
			return fmt.Sprintf("%s is cordoned, %s dead, and addresses on %v", third.Name(), dead, w)
		}
		return ""
	})
	t.Logf("all were on %s, which had started, %v after the end of its predecessor", second, time.Since(began))
	end := time.Now()
	for _, addr := range e.all() {
		if s := e.lan.Observer().Silence(addr, began, end); s.Longest > time.Second {
			t.Errorf("nobody answered for %s for %v:\n%s", addr, s.Longest, e.lan.Observer().History(addr, began).Turns())
		}
	}
	e.cordon(t, third, false)
	e.agents[dead] = e.agent(e.cluster.Node(dead), e.env...)
}

// cordon makes a node unschedulable, or schedulable again.
func (e *elected) cordon(t *testing.T, n *controlplane.Node, yes bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, yes)
	require.Value(e.client.CoreV1().Nodes().Patch(t.Context(), n.Name(), types.MergePatchType, patch, metav1.PatchOptions{}))(t)
}

// mark makes a node not ready, with the taint that the node lifecycle controller gives it; "" makes it ready.
func (e *elected) mark(t *testing.T, n *controlplane.Node, taint string) {
	t.Helper()
	status, taints := corev1.ConditionTrue, "null"
	switch taint {
	case corev1.TaintNodeNotReady:
		status = corev1.ConditionFalse
	case corev1.TaintNodeUnreachable:
		status = corev1.ConditionUnknown
	}
	if taint != "" {
		taints = fmt.Sprintf(`[{"key":%q,"effect":"NoSchedule"},{"key":%[1]q,"effect":"NoExecute"}]`, taint)
	}
	require.NoError(t, n.SetReady(t.Context(), status))
	patch := fmt.Appendf(nil, `{"spec":{"taints":%s}}`, taints)
	require.Value(e.client.CoreV1().Nodes().Patch(t.Context(), n.Name(), types.MergePatchType, patch, metav1.PatchOptions{}))(t)
}

func (e *elected) together(t *testing.T) {
	e.settle(t)
	group := e.groups["default/web"]
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for _, end := range []func(*netns.Command) error{
		func(a *netns.Command) error { return a.Kill() },
		func(a *netns.Command) error { return a.Stop(ctx) },
	} {
		e.rest(t) // what is on its way now may have been announced by the one it comes from
		before := map[string]string{}
		for name, group := range e.groups {
			before[name] = e.on(group[0])
		}
		node := e.cluster.Node(e.on(group[0]))
		began := time.Now()
		require.NoError(t, end(e.agents[node.Name()]))
		e.settle(t, func() string {
			if slices.Contains(e.where(e.all()), node.Name()) {
				return "the agent of " + node.Name() + " is dead, and its node has addresses"
			}
			return ""
		})
		t.Logf("all were elsewhere after %v", time.Since(began))
		e.agents[node.Name()] = e.agent(node, e.env...)
		e.settle(t, func() string {
			if !slices.Contains(e.where(e.all()), node.Name()) {
				return node.Name() + " is back, and has no address"
			}
			return e.split(before, began)
		})
	}
}

// split says which group was not announced by the same nodes, in the same order, since it was on the node that before names.
func (e *elected) split(before map[string]string, since time.Time) string {
	for name, group := range e.groups {
		var first []string
		for i, addr := range group {
			hosts := []string{before[name]}
			for _, turn := range e.lan.Observer().History(addr, since).Of(netns.Announcement).Turns() {
				hosts = append(hosts, turn.Host)
			}
			if hosts = slices.Compact(hosts); i == 0 {
				first = hosts
			} else if !slices.Equal(hosts, first) {
				return fmt.Sprintf("of %s one was announced by %v, another by %v", name, first, hosts)
			}
		}
	}
	return ""
}
