package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/netns"
	"daymark/test/require"
)

// Three agents start at once and all stand for a control plane and Services whose addresses a stranger has. The first of them is given all,
// and hands on what suits the others better: nobody takes any, whether the right to it changes hands at once, by a hand-over, or because its holder died.
func TestNobodyTakesWhatAStrangerHas(t *testing.T) {
	b := newBed(t, "n1", "n2", "n3", "stranger")
	b.start()
	agents := b.nodes[:3]
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for _, n := range agents[1:] {
		require.NoError(t, n.Register(ctx, nil))
	}
	stranger := b.nodes[3].Host
	var addrs []netip.Addr
	for i := range 6 {
		a := b.lan.Addr(100 + i)
		addrs = append(addrs, a)
		require.NoError(t, stranger.AddAddr(netip.PrefixFrom(a, a.BitLen()), "eth0"))
		b.service(fmt.Sprintf("web-%d", i), a, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	}
	plane := b.lan.Addr(99)
	addrs = append(addrs, plane)
	require.NoError(t, stranger.AddAddr(netip.PrefixFrom(plane, plane.BitLen()), "eth0"))
	began := time.Now()
	commands := map[string]*netns.Command{}
	for _, n := range agents {
		commands[n.Name()] = b.agent(n, append(brisk(), "cp_enable=true", "address="+plane.String(), "svc_enable=true", "svc_election=true")...)
	}
	holder := func() string { // of the control plane's lease
		t.Helper()
		return *require.Value(b.client.CoordinationV1().Leases("kube-system").Get(ctx, "kube-vip-cp", metav1.GetOptions{}))(t).Spec.HolderIdentity
	}
	free := func(when string) {
		t.Helper()
		for _, a := range addrs {
			for _, n := range agents {
				if said := b.lan.Observer().Answers(a, began).By(n.Name()); len(said) > 0 || require.Value(n.Host.Has(a))(t) {
					t.Errorf("%s: %s took %s, which a stranger has: %s", when, n.Name(), a, said)
				}
			}
		}
	}
	require.NoError(t, after(ctx, 3*time.Second))
	free("started at once")
	for _, a := range addrs { // by who had the right first, or by who was given it then
		b.trouble(ctx, a.String()+" on eth0 is used by "+stranger.MAC().String())
	}
	first := holder()
	require.NoError(t, commands[first].Stop(ctx)) // hands over
	require.NoError(t, after(ctx, time.Second))
	free("handed over")
	second := holder()
	require.NoError(t, commands[second].Kill())
	require.NoError(t, after(ctx, 5*time.Second))
	free("failed over")
	if third := holder(); second == first || third == second {
		t.Errorf("the control plane's lease went from %s to %s to %s", first, second, third)
	}
}
