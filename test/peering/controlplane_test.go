package peering_test

import (
	"net/netip"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"daymark/test/require"
)

// controlPlaneAddr is the control plane's address; it is in the API server's certificate.
const controlPlaneAddr = "192.0.2.100"

// TestControlPlane has the nodes announce the control plane's address: every one whose API server is well, or with an election the holder.
func TestControlPlane(t *testing.T) {
	t.Parallel()
	b := newBed(t, "graceful-restart-helper")
	flags := []string{"--controlplane", "--address=" + controlPlaneAddr, "--bgppeers=" + b.peer + ":65001"}
	t.Run("every well node", func(t *testing.T) {
		b := b.with(t)
		checked := append(flags, "--controlPlaneHealthCheckAddress=https://127.0.0.1:6443/livez", "--controlPlaneHealthCheckPeriodSeconds=1",
			"--controlPlaneHealthCheckTimeoutSeconds=1", "--controlPlaneHealthCheckFailureThreshold=2")
		b.start(b.nodes[0], checked...)
		restarts := append(checked, "--services", "--bgpGracefulRestart=60")
		b.start(b.nodes[1], restarts...) // which has no API server
		b.serve("web", web, cluster, "n1")
		b.up(b.nodes...)
		b.by(20*time.Second, web, "n2")
		b.by(20*time.Second, controlPlaneAddr, "n1")
		b.asks()
		require.NoError(t, b.nodes[0].APIServer.Kill())
		b.by(10*time.Second, controlPlaneAddr, "")
		b.by(time.Second, web, "n2") // the data plane outlives the control plane
		require.NoError(t, b.nodes[0].StartAPIServer(t.Context()))
		require.NoError(t, b.nodes[0].Ready(t.Context()))
		b.by(10*time.Second, controlPlaneAddr, "n1")
		b.upgraded(restarts)
		b.stop()
		b.by(5*time.Second, controlPlaneAddr, "")
	})
	t.Run("the holder", func(t *testing.T) {
		b := b.with(t)
		b.startAll(append(flags, "--leaderElection")...)
		b.up(b.nodes...)
		b.eventually(20*time.Second, func() string { return "by " + b.announcers(controlPlaneAddr) }, func() bool {
			by := b.announcers(controlPlaneAddr)
			return by == "n1" || by == "n2"
		})
		holder := b.announcers(controlPlaneAddr)
		other := map[string]string{"n1": "n2", "n2": "n1"}[holder]
		// A holder that no router listens to hands over.
		b.shutdown(holder, true)
		b.by(10*time.Second, controlPlaneAddr, other)
		b.shutdown(holder, false)
		b.up(b.cluster.Node(holder))
		require.NoError(t, b.agents[other].Stop(t.Context()))
		b.by(10*time.Second, controlPlaneAddr, holder)
		b.stop()
	})
}

// upgraded replaces the agent of n2, which alone announces web, while a client asks.
func (b *bed) upgraded(flags []string) {
	b.t.Helper()
	prober := b.probe()
	begun := time.Now()
	require.NoError(b.t, b.agents["n2"].Stop(b.t.Context()))
	b.pause(time.Second)
	b.by(time.Second, web, "n2")
	b.start(b.nodes[1], flags...)
	b.up(b.nodes[1])
	b.pause(2 * time.Second) // after End-of-RIB the router drops what was not offered again
	b.by(time.Second, web, "n2")
	b.nothingLost(prober, "the only agent upgraded, graceful restart", begun, time.Now())
}

// asks asks the API server through the address, from behind the router.
func (b *bed) asks() {
	b.t.Helper()
	admin := require.Value(b.cluster.Admin())(b.t)
	client := require.Value(kubernetes.NewForConfig(b.cluster.Config(b.client, netip.MustParseAddr(controlPlaneAddr), admin)))(b.t)
	if _, err := client.Discovery().RESTClient().Get().AbsPath("/healthz").DoRaw(b.t.Context()); err != nil {
		b.t.Errorf("asking through the address: %v", err)
	}
}

// shutdown has the router refuse a node's session, or take it again.
func (b *bed) shutdown(node string, refuse bool) {
	b.t.Helper()
	line := "neighbor " + b.cluster.Node(node).Addr().String() + " shutdown"
	if !refuse {
		line = "no " + line
	}
	require.NoError(b.t, b.frr.Configure(b.t.Context(), "router bgp 65001", line))
}
