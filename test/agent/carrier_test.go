package agent_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// Nodes that reach the API server by one link and have their addresses on another: only the node itself sees that its cable is cut.
func TestFaultCutCableOfTheLinkThatHoldsAddresses(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	lab := netns.Test(t)
	back := require.Value(lab.AddLAN("back"))(t)
	front := require.Value(lab.AddLAN("front"))(t)
	b := &bed{t: t, lan: back, pods: map[string]*controlplane.Pod{}}
	b.cluster = require.Value(controlplane.New(lab, controlplane.Config{Programs: controlplane.Programs(t), Endpoint: back.Addr(200)}))(t)
	agents := map[string]*netns.Command{}
	for _, name := range []string{"n1", "n2"} {
		b.nodes = append(b.nodes, require.Value(b.cluster.Add(require.Value(lab.AddHost(name, back, front))(t)))(t))
	}
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	const giveUp = 3 * time.Second
	for _, n := range b.nodes {
		agents[n.Name()] = b.agent(n, "svc_enable=true", "vip_interface=eth1", "vip_loseleadership=true", "vip_loseleadership_timeout_seconds=3")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	addr := front.Addr(100)
	b.service("web", addr, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	b.held(ctx, "web", "n1", "n2")
	seen := require.Value(front.Observer().Wait(ctx, addr, time.Time{}, nil))(t)
	first := b.cluster.Node(seen.Host)
	other := b.nodes[0]
	if other == first {
		other = b.nodes[1]
	}

	// Where there is a successor, it has the address at once: nobody waits for a lease to end.
	cut := time.Now()
	require.NoError(t, first.CutFrom(front))
	got := require.Value(front.Observer().Wait(ctx, addr, cut, netns.FromHost(other.Name())))(t)
	t.Logf("the other node announced it %v after the cut", got.At.Sub(cut))
	if late := got.At.Sub(cut); late > 2*time.Second {
		t.Errorf("the other node announced it %v after the cut", late)
	}
	require.NoError(t, first.WaitNoAddr(ctx, addr))

	// Where there is none, it is held until the time given is over, and taken again with the cable.
	require.NoError(t, agents[first.Name()].Kill())
	cut = time.Now()
	require.NoError(t, other.CutFrom(front))
	require.NoError(t, other.WaitNoAddr(ctx, addr))
	if kept := time.Since(cut); kept < giveUp-200*time.Millisecond || kept > giveUp+2*time.Second {
		t.Errorf("the address was given up %v after the cut, want %v", kept, giveUp)
	}
	mended := time.Now()
	require.NoError(t, other.MendTo(front))
	got = require.Value(front.Observer().Wait(ctx, addr, mended, netns.FromHost(other.Name())))(t)
	if late := got.At.Sub(mended); late > 3*time.Second {
		t.Errorf("announced again %v after the cable was mended", late)
	}
}

// Of two links that Services are on, the second is cut on one node: what goes there is on the other node within a second, and back a while
// after it is mended. The VIP and the rest stay where they are, and answer all the time.
func TestServiceFollowsTheCarrierOfItsOwnLink(t *testing.T) {
	lab := netns.Test(t)
	front := require.Value(lab.AddLAN("front"))(t)
	side := require.Value(lab.AddLAN("side"))(t)
	b := &bed{t: t, lan: front, pods: map[string]*controlplane.Pod{}}
	b.cluster = require.Value(controlplane.New(lab, controlplane.Config{Programs: controlplane.Programs(t), Endpoint: front.Addr(200)}))(t)
	for _, name := range []string{"n1", "n2"} {
		b.nodes = append(b.nodes, require.Value(b.cluster.Add(require.Value(lab.AddHost(name, front, side))(t)))(t))
	}
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	vip := front.Addr(150)
	for _, n := range b.nodes {
		b.agent(n, "cp_enable=true", "address="+vip.String(), "svc_enable=true", "svc_election=true")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	stay := map[string]netip.Addr{"a": front.Addr(100), "b": front.Addr(101), "c": front.Addr(102)}
	for name, addr := range stay {
		b.service(name, addr, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	}
	moves := side.Addr(100)
	b.serviceOn("eth1", "moves", moves, "n1")
	where := b.settled(ctx)
	first := where["moves"]
	other := map[string]string{"n1": "n2", "n2": "n1"}[first]
	stay["the VIP"] = vip
	for _, addr := range stay {
		require.Value(front.Observer().Wait(ctx, addr, time.Time{}, nil))(t)
		defer require.Value(front.Observer().Ask(addr, 20*time.Millisecond))(t)()
	}

	cut := time.Now()
	require.NoError(t, b.cluster.Node(first).CutFrom(side))
	got := require.Value(side.Observer().Wait(ctx, moves, cut, netns.FromHost(other)))(t)
	t.Logf("the other node announced it %v after the cut", got.At.Sub(cut))
	if late := got.At.Sub(cut); late > 2*time.Second { // of which the kernel takes up to one to say so (net/core/link_watch.c)
		t.Errorf("the other node announced it %v after the cut", late)
	}
	require.NoError(t, b.cluster.Node(first).WaitNoAddr(ctx, moves))
	b.held(ctx, "moves", other)
	mended := time.Now()
	require.NoError(t, b.cluster.Node(first).MendTo(side))
	require.NoError(t, b.cluster.Node(first).WaitAddr(ctx, moves))
	if early := time.Since(mended); early < 4*time.Second {
		t.Errorf("taken back %v after the cable was mended", early)
	}
	b.held(ctx, "moves", first)

	for name, addr := range stay {
		history := front.Observer().History(addr, cut)
		if turns := history.Turns(); len(turns) != 1 {
			t.Errorf("%s did not stay where it was:\n%s", name, turns)
		}
		if none := history.LongestSilence(cut, time.Now()); none > 500*time.Millisecond {
			t.Errorf("nobody answered for %s for %v", name, none)
		}
		if name != "the VIP" {
			b.held(ctx, name, where[name])
		}
	}
}

// The control plane's address is on a link of its own: with the cable it goes to the other node, as Events on the Node and a metric tell. Mended,
// the link takes nothing from the node that serves; where that one's is cut too, it has the address at once.
func TestControlPlaneFollowsTheCarrierOfItsLink(t *testing.T) {
	lab := netns.Test(t)
	back := require.Value(lab.AddLAN("back"))(t)
	front := require.Value(lab.AddLAN("front"))(t)
	b := &bed{t: t, lan: back, pods: map[string]*controlplane.Pod{}}
	b.cluster = require.Value(controlplane.New(lab, controlplane.Config{Programs: controlplane.Programs(t), Endpoint: back.Addr(200)}))(t)
	for _, name := range []string{"n1", "n2"} {
		b.nodes = append(b.nodes, require.Value(b.cluster.Add(require.Value(lab.AddHost(name, back, front))(t)))(t))
	}
	b.start()
	vip := front.Addr(100)
	for _, n := range b.nodes {
		b.agent(n, "cp_enable=true", "address="+vip.String(), "vip_interface=eth1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	b.until(ctx, func() string { // there is a successor
		leases := require.Value(b.client.CoordinationV1().Leases("kube-system").List(ctx, metav1.ListOptions{}))(t)
		if n := len(leases.Items); !slices.ContainsFunc(leases.Items, func(l coordinationv1.Lease) bool { return l.Name == "kube-vip-cp" }) || n < 3 {
			return fmt.Sprintf("there are %d leases, want the control plane's and the members'", n)
		}
		return ""
	})
	first := b.cluster.Node(require.Value(front.Observer().Wait(ctx, vip, time.Time{}, nil))(t).Host)
	other := b.nodes[0]
	if other == first {
		other = b.nodes[1]
	}
	takes := func(n *controlplane.Node, since time.Time, what string) {
		t.Helper()
		got := require.Value(front.Observer().Wait(ctx, vip, since, netns.FromHost(n.Name())))(t)
		late := got.At.Sub(since)
		if t.Logf("announced %v after %s", late, what); late > 4*time.Second { // less than a link settles; the kernel takes up to 1 s to say so
			t.Errorf("announced only %v after %s", late, what)
		}
	}
	const up = `daymark_agent_link_up{link="eth1"}`

	cut := time.Now()
	require.NoError(t, first.CutFrom(front))
	takes(other, cut, "the holder's cable was cut")
	require.NoError(t, first.WaitNoAddr(ctx, vip))
	if of, on := metric(t, first, up), metric(t, other, up); of != 0 || on != 1 {
		t.Errorf("of the link that is cut %s is %v, and of the other %v", up, of, on)
	}
	b.nodeEvent(ctx, first, corev1.EventTypeWarning, "AddressTrouble", "control plane: link eth1 has no carrier")

	require.NoError(t, other.CutFrom(front))
	b.until(ctx, func() string {
		if metric(t, other, up) != 0 {
			return "the other node's link is not known to be cut"
		}
		return ""
	})
	mended := time.Now()
	require.NoError(t, first.MendTo(front))
	takes(first, mended, "the first of two cut cables was mended")
	mended = time.Now()
	require.NoError(t, other.MendTo(front))
	for _, n := range b.nodes {
		b.nodeEvent(ctx, n, corev1.EventTypeNormal, "LinkServes", "control plane: link eth1 serves again")
	}
	if metric(t, other, up) != 1 {
		t.Errorf("%s of a link that is mended is not 1", up)
	}
	if turns := front.Observer().History(vip, mended).Of(netns.Announcement).Turns(); len(turns) != 1 || turns[0].Host != first.Name() {
		t.Errorf("the address did not stay where it was:\n%s", turns)
	}
}

// nodeEvent waits for an Event about a Node.
func (b *bed) nodeEvent(ctx context.Context, n *controlplane.Node, kind, reason, text string) {
	b.t.Helper()
	selector := metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + n.Name()}
	b.until(ctx, func() string {
		events := require.Value(b.client.CoreV1().Events("default").List(ctx, selector))(b.t).Items
		if !slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Type == kind && e.Reason == reason && e.Message == text }) {
			return fmt.Sprintf("no %s Event %s of %s says %q", kind, reason, n.Name(), text)
		}
		return ""
	})
}

// settled waits until every Service is held and none moved for two seconds, and returns who holds them.
func (b *bed) settled(ctx context.Context) (where map[string]string) {
	b.t.Helper()
	var since time.Time
	b.until(ctx, func() string {
		now := map[string]string{}
		for _, svc := range require.Value(b.client.CoreV1().Services("default").List(ctx, metav1.ListOptions{}))(b.t).Items {
			if host := svc.Annotations[annotations.VIPHost]; svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
				now[svc.Name] = host
			}
		}
		if !maps.Equal(now, where) || slices.Contains(slices.Collect(maps.Values(now)), "") {
			where, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Sprintf("Services still move: %v", now)
		}
		return ""
	})
	return where
}

// serviceOn is service for one whose addresses go to a link.
func (b *bed) serviceOn(link, name string, addr netip.Addr, node string) {
	b.t.Helper()
	svc := require.Value(b.client.CoreV1().Services("default").Create(b.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			annotations.LoadBalancerIPs: addr.String(), annotations.ServiceInterface: link,
		}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}, metav1.CreateOptions{}))(b.t)
	b.endpoints(svc, node)
}
