package peering_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"daymark/test/require"
)

const (
	cluster = corev1.ServiceExternalTrafficPolicyCluster
	local   = corev1.ServiceExternalTrafficPolicyLocal
)

// TestServices has every node announce what it can serve, and the control plane's address where the API server is well.
func TestServices(t *testing.T) {
	t.Parallel()
	b := newBed(t, "bfd 5 1000 1000")
	b.startAll(b.serviceFlags()...)
	b.serve("web", web, cluster, "n1")
	b.up(b.nodes...)
	b.by(10*time.Second, web, "n1 n2")
	b.eventually(10*time.Second, func() string { return "no status" }, func() bool {
		in := b.service("web").Status.LoadBalancer.Ingress
		return len(in) == 1 && in[0].IP == web
	})
	t.Run("shown", func(t *testing.T) { b.with(t).shown() })
	t.Run("policy Local", func(t *testing.T) { b.with(t).policyLocal() })
	t.Run("a shared address is one path", func(t *testing.T) { b.with(t).shared() })
	t.Run("drain", func(t *testing.T) { b.with(t).drained() })
	b.stop()
	b.by(10*time.Second, web, "")
	t.Run("control plane", func(t *testing.T) { b.with(t).controlPlane() })
	b.stop()
}

// TestFaultAgents stops, replaces and cuts off agents, without and with an election, while a client asks.
func TestFaultAgents(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	b := newBed(t, "remote-as external", "bfd 5 1000 1000", "graceful-restart-helper", "bfd check-control-plane-failure")
	b.startAll(b.serviceFlags()...)
	b.serve("web", web, cluster, "n1")
	b.up(b.nodes...)
	b.by(10*time.Second, web, "n1 n2")
	t.Run("reset", func(t *testing.T) { b.with(t).reset() })
	t.Run("stop", func(t *testing.T) { b.with(t).stopped() })
	b.stop()
	b.by(10*time.Second, web, "")
	t.Run("upgrade", func(t *testing.T) { b.with(t).upgraded() })
	b.by(10*time.Second, web, "")
	t.Run("election of Services", func(t *testing.T) { b.with(t).elected() })
	b.stop()
	t.Run("election of the control plane", func(t *testing.T) { b.with(t).controlPlaneElected() })
	b.stop()
	t.Run("controller", func(t *testing.T) { b.with(t).controller().changes() })
	b.stop()
}

// serviceFlags are those of agents that announce Services.
func (b *bed) serviceFlags() []string {
	return []string{"--services", "--bgpDrainDelay=3", "--bgppeers=" + b.peer + ":65001:::::true;1000;1000;5"}
}

// with is the bed for a subtest.
func (b *bed) with(t *testing.T) *bed {
	own := *b
	own.t = t
	return &own
}

// shown sees what people see: peers in /vips, `vip status` and metrics, and Events on the Node.
func (b *bed) shown() {
	n := b.nodes[0]
	_, peers := b.view(n)
	b.eventually(20*time.Second, func() string { return fmt.Sprintf("BFD is not up: %+v", peers) }, func() bool {
		_, peers = b.view(n)
		return peers[0].BFD == "up"
	})
	if len(peers) != 1 || peers[0].Peer != b.peer || peers[0].ASN != 65001 || peers[0].Announced != 1 || peers[0].Flaps != 0 || peers[0].Since.IsZero() {
		b.t.Errorf("/vips has peers %+v", peers)
	}
	status := string(require.Value(n.Run(b.t.Context(), require.Value(product())(b.t).VIP, "status"))(b.t))
	if !strings.Contains(status, "PEER") || !strings.Contains(status, b.peer) || !strings.Contains(status, "established") || !strings.Contains(status, web) {
		b.t.Errorf("vip status prints\n%s", status)
	}
	metrics := b.page(n, "/metrics")
	for _, want := range []string{
		fmt.Sprintf(`daymark_bgp_session_up{asn="65001",peer=%q,state="established"} 1`, b.peer),
		fmt.Sprintf(`daymark_bgp_announced_prefixes{peer=%q} 1`, b.peer),
		fmt.Sprintf(`daymark_bgp_session_flaps_total{peer=%q} 0`, b.peer),
		fmt.Sprintf(`daymark_bgp_bfd_up{peer=%q,state="up"} 1`, b.peer),
		fmt.Sprintf(`daymark_bgp_session_uptime_seconds{peer=%q} `, b.peer),
		"daymark_bgp_waiting 0",
	} {
		if !strings.Contains(metrics, want) {
			b.t.Errorf("metrics lack %s", want)
		}
	}
	b.told("n1", "BGPSessionUp", b.peer)
	b.told("n2", "BGPSessionUp", b.peer)
}

// reset has the router end a session, which is told and comes back.
func (b *bed) reset() {
	n := b.nodes[0]
	require.Value(b.frr.Run(b.t.Context(), "clear bgp "+n.Addr().String()))(b.t)
	b.told("n1", "BGPSessionDown", "reset by an administrator")
	b.up(n)
	b.by(10*time.Second, web, "n1 n2")
	if _, peers := b.view(n); peers[0].Flaps != 1 {
		b.t.Errorf("after a reset: %+v", peers)
	}
}

func (b *bed) policyLocal() {
	const addr = "192.0.2.11"
	b.serve("near", addr, local, "n2")
	b.by(10*time.Second, addr, "n2")
	svc := b.service("near")
	b.endpoints(svc, "n1", "n2")
	b.by(10*time.Second, addr, "n1 n2")
	b.endpoints(svc, "n1")
	b.by(10*time.Second, addr, "n1")
	b.endpoints(svc)
	b.by(10*time.Second, addr, "")
	b.remove("near")
}

// shared has two Services with one address: it is announced as long as one of them serves.
func (b *bed) shared() {
	const addr = "192.0.2.12"
	b.serve("one", addr, cluster, "n1")
	b.serve("two", addr, cluster, "n2")
	b.by(10*time.Second, addr, "n1 n2")
	b.remove("one")
	b.pause(500 * time.Millisecond)
	b.by(time.Second, addr, "n1 n2")
	b.remove("two")
	b.by(10*time.Second, addr, "")
}

// drained cordons a node while a client asks: its path is marked, then gone, and no question is lost.
func (b *bed) drained() {
	prober := b.probe()
	defer func() { // also when it fails: other tests follow
		b.cordon("n1", false)
		b.cordon("n2", false)
	}()
	begun := time.Now()
	b.cordon("n1", true)
	b.by(5*time.Second, web, "n1* n2")
	b.by(10*time.Second, web, "n2")
	b.cordon("n2", true) // nobody better is left: all serve
	b.by(5*time.Second, web, "n1 n2")
	b.cordon("n1", false)
	b.by(10*time.Second, web, "n1")
	b.cordon("n2", false)
	b.by(10*time.Second, web, "n1 n2")
	b.nothingLost(prober, "node cordoned, and uncordoned", begun, time.Now())
}

// stopped stops an agent while a client asks, and starts it again.
func (b *bed) stopped() {
	prober := b.probe()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- b.agents["n1"].Stop(b.t.Context()) }()
	b.by(5*time.Second, web, "n1* n2")
	require.NoError(b.t, <-done)
	b.by(5*time.Second, web, "n2")
	b.start(b.nodes[0], b.serviceFlags()...)
	b.by(20*time.Second, web, "n1 n2")
	b.nothingLost(prober, "agent stopped, and started again", begun, time.Now())
}

// elected spreads Services: one node announces each, and passes it on with no moment without a path. The control plane's address, for which there is no
// election, is announced by all.
func (b *bed) elected() {
	b.startAll(append(b.serviceFlags(), "--servicesElection", "--controlplane", "--address="+controlPlaneAddr)...)
	b.up(b.nodes...)
	holder := b.holder()
	b.by(10*time.Second, controlPlaneAddr, "n1 n2")
	prober := b.probe()
	var checks []func()
	passed := func(what string, do func()) {
		b.t.Helper()
		begun := time.Now()
		do()
		b.by(10*time.Second, web, map[string]string{"n1": "n2", "n2": "n1"}[holder])
		over := time.Now()
		checks = append(checks, func() { b.nothingLost(prober, what, begun, over) })
	}
	passed("election, holder cordoned", func() { b.cordon(holder, true) })
	b.cordon(holder, false)
	b.pause(2 * time.Second) // it may come back
	holder = b.holder()
	passed("election, holder stopped", func() { require.NoError(b.t, b.agents[holder].Stop(b.t.Context())) })
	for _, check := range checks {
		check()
	}
}

// holder waits until one node announces, and returns its name.
func (b *bed) holder() string {
	b.t.Helper()
	name := ""
	b.eventually(20*time.Second, func() string { return "announced by " + name }, func() bool {
		name = b.announcers(web)
		return name == "n1" || name == "n2"
	})
	return name
}
