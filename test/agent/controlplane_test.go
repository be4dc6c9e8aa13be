package agent_test

import (
	"context"
	"testing"
	"time"

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
	require.NoError(t, agent.Stop(ctx))
}
