package metal_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/provider/equinix"
	"daymark/test/controlplane"
	"daymark/test/metal"
	"daymark/test/metalapi"
	"daymark/test/netns"
	"daymark/test/require"
)

// ccmSite is a site without agents: the cloud-controller-manager runs beside the API server of the last node, and the address
// is on the first, whose API server dies.
type ccmSite struct {
	*site
	first, last *controlplane.Node
	api         *equinix.Client
}

func newCCMSite(ctx context.Context, t *testing.T) *ccmSite {
	t.Helper()
	s := &ccmSite{site: newSite(t)}
	s.first, s.last = s.cluster.Node("node-1"), s.cluster.Node("node-3")
	s.api = require.Value(equinix.NewClient(equinix.ClientConfig{
		BaseURL: s.net.URL, Project: metal.Project, Token: metal.Token, Transport: &http.Transport{DialContext: s.last.Dial},
	}))(t)
	client := require.Value(s.last.Client())(t)
	for _, n := range s.cluster.Nodes() { // as the kubelet registers a Node that a cloud-controller-manager is to know
		patch := []byte(`{"spec":{"taints":[{"key":"node.cloudprovider.kubernetes.io/uninitialized","value":"true","effect":"NoSchedule"}]}}`)
		require.Value(client.CoreV1().Nodes().Patch(ctx, n.Name(), types.MergePatchType, patch, metav1.PatchOptions{}))(t)
	}
	admin := require.Value(s.cluster.Admin())(t)
	require.NoError(t, s.last.WriteFile("/etc/kubernetes/ccm.conf", require.Value(s.cluster.Kubeconfig(s.last.Addr(), admin))(t)))
	return s
}

// ccm starts the program and returns once every Node is known to be a device.
func (s *ccmSite) ccm(ctx context.Context) *netns.Command {
	s.t.Helper()
	c := s.last.Command(filepath.Join(require.Value(product())(s.t), "ccm"), "--cloud-provider=equinixmetal", "--cloud-config=/etc/kubernetes/metal.json",
		"--kubeconfig=/etc/kubernetes/ccm.conf", "--leader-elect=false")
	require.NoError(s.t, c.Start())
	client := require.Value(s.last.Client())(s.t)
	for _, n := range s.cluster.Nodes() {
		require.Value(controlplane.Await(ctx, client.CoreV1().Nodes(), n.Name(), func(n *corev1.Node) bool { return n.Spec.ProviderID != "" }))(s.t)
	}
	return c
}

// place assigns the address to the first node, wherever it is.
func (s *ccmSite) place(ctx context.Context) {
	s.t.Helper()
	for _, a := range s.assignments(ctx) {
		require.NoError(s.t, s.api.Unassign(ctx, a.ID))
	}
	require.Value(s.api.Assign(ctx, s.devices[s.first.Name()], s.eip))(s.t)
}

// assignments returns those of the only address that the project owns.
func (s *ccmSite) assignments(ctx context.Context) []equinix.Assignment {
	s.t.Helper()
	owned := require.Value(s.api.Reservations(ctx))(s.t)
	if len(owned) != 1 {
		s.t.Fatalf("the project owns %d addresses", len(owned))
	}
	return owned[0].Assignments
}

// revive starts the first node's API server again.
func (s *ccmSite) revive(ctx context.Context) {
	s.t.Helper()
	require.NoError(s.t, s.first.StartAPIServer(ctx))
	require.NoError(s.t, s.first.Ready(ctx))
}

func TestFaultCCMMovesTheAddress(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := newCCMSite(ctx, t)
	s.place(ctx)
	ccm := s.ccm(ctx)
	began := time.Now()
	require.NoError(t, s.first.APIServer.Kill())
	to := s.moved(ctx, s.first.Host)
	took := time.Since(began)
	t.Logf("its API server died: moved after %s", took)
	// The round that runs, three rounds of 2 s in which it fails, four calls; half as much again for a loaded machine.
	if took > 13*time.Second {
		t.Errorf("moved after %s", took)
	}
	s.revive(ctx)
	s.assigned(ctx, to.Name())
	require.NoError(t, ccm.Stop(ctx))
}

// The ccm is killed at each step of a move. The next one finishes it, and buys nothing.
func TestFaultCCMKilledWhileItMovesTheAddress(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	const unassign, assign = "DELETE /ips/{id}", "POST /devices/{device}/ips"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newCCMSite(ctx, t)
	for _, step := range []struct {
		name, call string
		done       bool
	}{
		{"before it is taken from the old device", unassign, false},
		{"taken, answer under way", unassign, true},
		{"before it is given to the new device", assign, false},
		{"given, answer under way", assign, true},
	} {
		t.Run(step.name, func(t *testing.T) {
			s.t = t
			s.place(ctx)
			reached := make(chan struct{})
			stop := func(ctx context.Context) { close(reached); <-ctx.Done() }
			fault := metalapi.Fault{Call: step.call, Times: 1, Before: stop}
			if step.done {
				fault.Before, fault.After = nil, stop
			}
			s.net.API.Inject(fault)
			ccm := s.ccm(ctx)
			require.NoError(t, s.first.APIServer.Kill())
			select {
			case <-reached:
			case <-ctx.Done():
				t.Fatal("the ccm does not come to that step")
			}
			require.NoError(t, ccm.Kill())
			ccm = s.ccm(ctx)
			to := s.moved(ctx, s.first.Host)
			if got := s.assignments(ctx); len(got) != 1 || got[0].Device != s.devices[to.Name()] {
				t.Errorf("assigned as %+v, and routed to %s", got, to.Name())
			}
			s.revive(ctx)
			require.NoError(t, ccm.Kill())
		})
	}
}
