package agent_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

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
