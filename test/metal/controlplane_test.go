package metal_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/controlplane"
	"daymark/test/metal"
	"daymark/test/netns"
	"daymark/test/require"
)

// echoPort is where each node answers with its name.
const echoPort = 7

// product returns a folder with the programs, built once.
var product = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "equinix-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "daymark/cmd/vip", "daymark/cmd/ccm")
	cmd.Stderr = os.Stderr
	return dir, cmd.Run()
})

// site is a cluster of devices in the vendor's network, with an elastic address for its control plane that nobody has yet.
type site struct {
	t       *testing.T
	net     *metal.Network
	cluster *controlplane.Cluster
	eip     netip.Addr
	file    []byte // cloud config
	devices map[string]string
}

// newSite starts a control plane of three nodes.
func newSite(t *testing.T) *site {
	t.Helper()
	require.Tool(t, "nft")
	set := controlplane.Programs(t)
	log := slog.New(slog.DiscardHandler)
	lab := require.Value(netns.New(t.TempDir(), log))(t)
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, devices: map[string]string{}, net: require.Value(metal.New(lab, log))(t)}
	s.eip = require.Value(s.net.Reserve(metal.ControlPlaneTag))(t)
	s.file = require.Value(s.net.CloudConfig(map[string]any{"eipTag": metal.ControlPlaneTag, "apiServerPort": controlplane.APIPort}))(t)
	s.cluster = require.Value(controlplane.New(lab, controlplane.Config{Programs: set, Endpoint: s.eip}))(t)
	var hosts []*netns.Host
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		host := require.Value(lab.AddHost(name, s.net.LAN))(t)
		s.devices[name] = require.Value(s.net.AddDevice(host))(t)
		require.Value(host.Echo("tcp", fmt.Sprintf("0.0.0.0:%d", echoPort)))(t)
		hosts = append(hosts, host)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, s.cluster.Start(ctx, hosts...))
	for _, n := range s.cluster.Nodes() {
		require.NoError(t, n.WriteFile("/etc/kubernetes/metal.json", s.file))
	}
	return s
}

// agent runs the agent of a node as the static pod whose manifest a user would write.
func (s *site) agent(n *controlplane.Node) *netns.Command {
	s.t.Helper()
	program := filepath.Join(require.Value(product())(s.t), "vip")
	manifest := require.Value(n.Run(s.t.Context(), program, "manifest", "pod", "--controlplane", "--metal", "--leaderElection",
		"--provider-config", "/etc/kubernetes/metal.json", "--address", s.eip.String()))(s.t)
	return require.Value(n.RunManifest(manifest, controlplane.Run{Program: program}))(s.t)
}

// outage asks through the address every 10 ms from outside while a fault happens, until another than lost answers and for a while longer.
func (s *site) outage(ctx context.Context, lost *controlplane.Node, fault func() error) netns.Outage {
	s.t.Helper()
	prober := netns.StartProber(netns.Probe{From: s.net.Client, Network: "tcp", To: netip.AddrPortFrom(s.eip, echoPort)})
	defer prober.Stop()
	require.Value(prober.Wait(ctx, time.Now(), nil))(s.t)
	began := time.Now()
	require.NoError(s.t, fault())
	again := require.Value(prober.Wait(ctx, began, func(r netns.Reached) bool { return r.By != lost.Name() }))(s.t)
	end := again.At.Add(2 * time.Second)
	require.Value(prober.Wait(ctx, end, nil))(s.t)
	return prober.Report(began, end)
}

// holder returns the node that the address is assigned to, once it stands there.
func (s *site) holder(ctx context.Context) *controlplane.Node {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if host := s.net.Where(s.eip); host != nil && require.Value(host.Has(s.eip))(s.t) {
			return s.cluster.Node(host.Name())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%s is assigned to %v and stands nowhere", s.eip, s.net.Where(s.eip))
		}
	}
}

// moved returns the host that the address is assigned to, once that is another than before.
func (s *site) moved(ctx context.Context, before *netns.Host) *netns.Host {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if host := s.net.Where(s.eip); host != nil && host != before {
			return host
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%s is not assigned to another host", s.eip)
		}
	}
}

// assigned waits until `kubectl describe node` tells that a node has the address: it shows Events whose UID is the Node's, or its name.
func (s *site) assigned(ctx context.Context, node string) {
	s.t.Helper()
	client := require.Value(s.cluster.Client())(s.t)
	selector := metav1.ListOptions{FieldSelector: fmt.Sprintf("involvedObject.kind=Node,involvedObject.name=%[1]s,involvedObject.uid=%[1]s,reason=ControlPlaneAddressAssigned", node)}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(require.Value(client.CoreV1().Events("default").List(ctx, selector))(s.t).Items) == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("no Event about %s says that it has the address", node)
		}
	}
}

// TestAgentsMoveTheAddress has no cloud-controller-manager: each node's agent takes the address when it gets the lease.
func TestAgentsMoveTheAddress(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	agents := map[string]*netns.Command{}
	for _, n := range s.cluster.Nodes() {
		agents[n.Name()] = s.agent(n)
	}
	first := s.holder(ctx)
	if links := require.Value(first.Addrs("lo"))(t); len(links) != 1 || links[0].Addr() != s.eip {
		t.Errorf("on lo of %s: %v", first.Name(), links)
	}
	s.assigned(ctx, first.Name())

	// Planned: the lease is passed on, and the old holder answers until the routers know the new one.
	out := s.outage(ctx, first, func() error { return agents[first.Name()].Stop(ctx) })
	t.Logf("holder stopped: %s", out)
	if out.Longest > 3*time.Second {
		t.Errorf("a planned move: %s", out)
	}
	agents[first.Name()] = s.agent(first)

	// Sudden: the lease lasts 5 s, an etcd whose leader died takes up to 3 s for another, the next attempt to take the lease comes after 1 s, and three calls of
	// the API and an address on lo take less than 1 s; half as much again for a loaded machine.
	second := s.holder(ctx)
	out = s.outage(ctx, second, second.PowerOff)
	t.Logf("holder died: %s", out)
	if out.Longest > 15*time.Second {
		t.Errorf("after the death of the holder: %s", out)
	}
	if third := s.holder(ctx); third == second {
		t.Errorf("still at %s", second.Name())
	}
}
