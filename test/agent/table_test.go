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

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
	"daymark/test/router"
)

// learns is BIRD's side, as docs/bgp.md has it.
const learns = `router id 192.0.2.11;
protocol device {}
protocol kernel {
  kernel table 198;
  learn;
  ipv4 { import all; };
}
`

// In routing table mode a node has a route to each Service that it serves, where a routing daemon finds it, and no address:
// nobody answers for it by ARP.
func TestRoutesToServicesAreInATable(t *testing.T) {
	b := newBed(t, "n1", "n2")
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	n1, n2 := b.nodes[0], b.nodes[1]
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	local, any, left := b.lan.Addr(100), b.lan.Addr(101), b.lan.Addr(102)
	// Of a former run.
	require.Value(n1.Host.Run(ctx, "ip", "route", "add", left.String(), "dev", "eth0", "table", "198", "proto", "248"))(t)
	agents := make([]*netns.Command, 2)
	for i, n := range b.nodes {
		agents[i] = b.agent(n, "vip_arp=", "vip_leaderelection=", "svc_enable=true", "vip_routingtable=true", "vip_cleanroutingtable=true")
	}
	b.service("any", any, corev1.ServiceExternalTrafficPolicyCluster, "n2")
	b.routed(ctx, n1, any)
	b.routed(ctx, n2, any)
	// Each agent tells what has no effect before it tells of what comes later.
	noEffect := []byte(`{"metadata":{"annotations":{"kube-vip.io/forwardUPNP":"true"}}}`)
	require.Value(b.client.CoreV1().Services("default").Patch(ctx, "any", types.MergePatchType, noEffect, metav1.PatchOptions{}))(t)
	b.event(ctx, "any", "NotSupported", "no effect in this version: kube-vip.io/forwardUPNP")
	b.service("local", local, corev1.ServiceExternalTrafficPolicyLocal, "n2")

	b.routed(ctx, n1, any)
	b.routed(ctx, n2, local, any)
	b.event(ctx, "local", "Held", "Held by n2 with routing table")
	if has := require.Value(n2.Host.Has(local))(t); has {
		t.Error("the address is on a link, where more than one node would answer for it")
	}
	daemon := require.Value(router.StartBIRD(ctx, n2.Host, learns))(t)
	b.until(ctx, func() string {
		if out := require.Value(daemon.Run(ctx, "show", "route"))(t); !strings.Contains(out, local.String()+"/32") {
			return "BIRD has not learned the route: " + out
		}
		return ""
	})
	svc := require.Value(b.client.CoreV1().Services("default").Get(ctx, "local", metav1.GetOptions{}))(t)
	b.endpoints(svc, "n1")
	b.routed(ctx, n1, local, any)
	b.routed(ctx, n2, any)
	b.event(ctx, "local", "Held", "Held by n1 with routing table")
	events := require.Value(b.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=NotSupported"}))(t)
	if n := len(events.Items); n != 1 {
		t.Errorf("what has no effect is told by %d Events", n)
	}
	require.NoError(t, agents[0].Stop(ctx))
	if got := b.routes(n1); len(got) > 0 {
		t.Errorf("after the stop there are still routes to %v", got)
	}
}

// routes returns what table 198 of a node leads to.
func (b *bed) routes(n *controlplane.Node) []string {
	b.t.Helper()
	out, _ := n.Host.Run(b.t.Context(), "ip", "-o", "route", "show", "table", "198", "proto", "248") // no table is no route
	var got []string
	for line := range strings.Lines(string(out)) {
		got = append(got, strings.Fields(line)[0])
	}
	return got
}

// routed waits until a node has routes to just these.
func (b *bed) routed(ctx context.Context, n *controlplane.Node, addrs ...netip.Addr) {
	b.t.Helper()
	var want []string
	for _, a := range addrs {
		want = append(want, a.String())
	}
	b.until(ctx, func() string {
		if got := b.routes(n); !slices.Equal(got, want) {
			return fmt.Sprintf("%s has routes to %v, not to %v", n.Name(), got, want)
		}
		return ""
	})
}

// until waits until nothing is wrong any more.
func (b *bed) until(ctx context.Context, wrong func() string) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for why := wrong(); why != ""; why = wrong() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatal(why)
		}
	}
}
