package peering_test

import (
	"net/netip"
	"time"

	"k8s.io/client-go/kubernetes"

	"daymark/test/require"
)

// controlPlaneAddr is the control plane's address; it is in the API server's certificate.
const controlPlaneAddr = "192.0.2.100"

// controlPlane has every node announce the control plane's address whose API server is well. It ends without an API server.
func (b *bed) controlPlane() {
	flags := []string{
		"--controlplane", "--address=" + controlPlaneAddr, "--bgppeers=" + b.peer + ":65001", "--controlPlaneHealthCheckAddress=https://127.0.0.1:6443/livez",
		"--controlPlaneHealthCheckPeriodSeconds=1", "--controlPlaneHealthCheckTimeoutSeconds=1", "--controlPlaneHealthCheckFailureThreshold=2",
	}
	b.start(b.nodes[0], flags...)
	b.start(b.nodes[1], append(flags, "--services")...) // which has no API server
	b.up(b.nodes...)
	b.by(20*time.Second, web, "n2")
	b.by(20*time.Second, controlPlaneAddr, "n1")
	b.asks()
	require.NoError(b.t, b.nodes[0].APIServer.Kill())
	b.by(10*time.Second, controlPlaneAddr, "")
	b.by(time.Second, web, "n2") // the data plane outlives the control plane
}

// controlPlaneElected has the holder announce the control plane's address, and hand it over when no router listens to it, and when it stops.
func (b *bed) controlPlaneElected() {
	b.startAll("--controlplane", "--address="+controlPlaneAddr, "--bgppeers="+b.peer+":65001", "--leaderElection")
	b.up(b.nodes...)
	b.eventually(20*time.Second, func() string { return "by " + b.announcers(controlPlaneAddr) }, func() bool {
		by := b.announcers(controlPlaneAddr)
		return by == "n1" || by == "n2"
	})
	holder := b.announcers(controlPlaneAddr)
	other := map[string]string{"n1": "n2", "n2": "n1"}[holder]
	b.shutdown(holder, true)
	b.by(10*time.Second, controlPlaneAddr, other)
	b.shutdown(holder, false)
	b.up(b.cluster.Node(holder))
	require.NoError(b.t, b.agents[other].Stop(b.t.Context()))
	b.by(10*time.Second, controlPlaneAddr, holder)
}

// upgraded replaces the only agent while a client asks.
func (b *bed) upgraded() {
	flags := append(b.serviceFlags(), "--bgpGracefulRestart=60")
	n := b.nodes[1]
	b.start(n, flags...)
	b.up(n)
	b.by(20*time.Second, web, "n2")
	prober := b.probe()
	begun := time.Now()
	require.NoError(b.t, b.agents["n2"].Stop(b.t.Context()))
	b.pause(time.Second)
	b.by(time.Second, web, "n2")
	b.start(n, flags...)
	b.up(n)
	b.pause(2 * time.Second) // after End-of-RIB the router drops what was not offered again
	b.by(time.Second, web, "n2")
	b.nothingLost(prober, "the only agent upgraded, graceful restart", begun, time.Now())
	b.stop()
	b.start(n, b.serviceFlags()...) // whose End-of-RIB ends what is kept
	b.up(n)
	b.stop()
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
