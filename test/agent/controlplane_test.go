package agent_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/require"
)

// The order of kubeadm init: the agent is there before the API server, whose kubeconfig names the address that is not up yet.
func TestControlPlaneAddressComesUpBesideTheFirstAPIServer(t *testing.T) {
	b := newBed(t, "n1", "client")
	addr := b.lan.Addr(200)
	agent := b.agent(b.nodes[0], "cp_enable=true", "address="+addr.String(), "kubernetes_addr=")
	b.start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, b.nodes[0].Host.WaitAddr(ctx, addr))

	// A client of the address, from another host.
	admin := require.Value(b.cluster.Admin())(t)
	through := require.Value(kubernetes.NewForConfig(b.cluster.Config(b.nodes[1].Host, addr, admin)))(t)
	if _, err := through.Discovery().RESTClient().Get().AbsPath("/healthz").DoRaw(ctx); err != nil {
		t.Errorf("asking through the address: %v", err)
	}

	// Kube-vip's usual installation: a static pod for the control plane and a DaemonSet for Services, on one node.
	other := b.agent(b.nodes[0], "svc_enable=true", "prometheus_server=:2113")
	web := b.lan.Addr(101)
	b.service("web", web, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	require.NoError(t, b.nodes[0].Host.WaitAddr(ctx, web))
	for range 30 { // a few renewals of each, every one of which makes a whole set true
		tick := time.NewTimer(100 * time.Millisecond)
		<-tick.C
		for _, a := range []netip.Addr{addr, web} {
			if !require.Value(b.nodes[0].Host.Has(a))(t) {
				t.Fatalf("%s was taken away by the other agent", a)
			}
		}
	}
	require.NoError(t, other.Stop(ctx))
	require.NoError(t, b.nodes[0].Host.WaitNoAddr(ctx, web))
	if !require.Value(b.nodes[0].Host.Has(addr))(t) {
		t.Error("the control plane's address went with the agent for Services")
	}
	require.NoError(t, agent.Stop(ctx))
}
