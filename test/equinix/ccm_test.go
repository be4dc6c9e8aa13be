package equinix_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/provider/equinix"
	"daymark/test/controlplane"
	"daymark/test/metalapi"
	"daymark/test/require"
)

// TestCCM plays `ccm --cloud-provider=equinixmetal` as a program, on one real API server, with an account at a simulated vendor for each story.
func TestCCM(t *testing.T) {
	b := newBed(t)
	t.Run("Services", b.services)
	t.Run("Nodes", b.nodes)
	t.Run("killed", b.killed)
	t.Run("quota", b.quota)
	t.Run("wrong token", b.wrongToken)
	t.Run("API down", func(t *testing.T) { b.apiDown(t, time.Second) })
	t.Run("429", func(t *testing.T) { b.storm(t, time.Second) })
	t.Run("calls", func(t *testing.T) { b.many(t, 20, 100) })
}

// TestFaults plays the outages at their full length, and the calls of a cluster of some size.
func TestFaults(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	b := newBed(t)
	t.Run("API down", func(t *testing.T) { b.apiDown(t, time.Minute) })
	t.Run("429", func(t *testing.T) { b.storm(t, time.Minute) })
	t.Run("calls", func(t *testing.T) { b.many(t, 100, 500) })
}

func (b *bed) services(t *testing.T) {
	v := b.vendor(t)
	control := require.Value(v.api.Reserve("public_ipv4", "my-control-plane"))(t)
	own := require.Value(v.api.Reserve("public_ipv4"))(t)
	v.config["eipTag"] = "my-control-plane"
	v.start(t)

	v.service(t, "public")
	public := v.has(t, "public")
	svc := require.Value(v.Client.CoreV1().Services("default").Get(t.Context(), "public", metav1.GetOptions{}))(t)
	if svc.Spec.LoadBalancerIP != public || !slices.Contains(v.owned(), public) {
		t.Errorf("address %s, spec %s, owned %v", public, svc.Spec.LoadBalancerIP, v.owned())
	}
	system := require.Value(v.Client.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{}))(t)
	for _, r := range v.api.Reservations() {
		if r.Address == public && !slices.Equal(r.Tags, equinix.Tags("default/public", string(system.UID))) {
			t.Errorf("tags %q", r.Tags)
		}
	}
	await(t, "an Event", func() bool {
		return strings.Contains(v.events(t, "public"), "AddressAssigned "+public+" from Equinix Metal (public_ipv4 in da)")
	})
	v.service(t, "private", annotated(equinix.EIPType, "private_ipv4"))
	if private := v.has(t, "private"); !strings.HasPrefix(private, "10.65.") {
		t.Errorf("a private address is %s", private)
	}
	v.service(t, "asks", annotated(annotations.LoadBalancerIPs, own.Address))
	if got := v.has(t, "asks"); got != own.Address {
		t.Errorf("asked for %s, has %s", own.Address, got)
	}
	for name, addr := range map[string]string{"control": control.Address, "foreign": "203.0.113.1", "taken": public} {
		v.service(t, name, annotated(annotations.LoadBalancerIPs, addr))
		await(t, "a refusal of "+name, func() bool { return strings.Contains(v.events(t, name), "AddressRefused "+addr) })
	}
	for _, name := range []string{"public", "private", "asks", "control", "foreign", "taken"} {
		v.delete(t, name)
		v.gone(t, name)
	}
	if got := v.owned(); !slices.Equal(got, []string{control.Address, own.Address}) {
		t.Errorf("at the end the project owns %v", got)
	}
	if n := v.count("POST /projects/{project}/ips"); n != 2 {
		t.Errorf("%d purchases", n)
	}
}

func (b *bed) nodes(t *testing.T) {
	v := b.vendor(t)
	first, device := v.node(t, 0)
	off, _ := v.node(t, 1, func(d *metalapi.Device, _ *corev1.Node) { d.State = "inactive" })
	gone, _ := v.node(t, 2, func(_ *metalapi.Device, n *corev1.Node) {
		n.Spec.ProviderID = "equinixmetal://11111111-0000-4000-8000-000000000000"
	})
	c := v.start(t)
	complete := func(n *corev1.Node) bool {
		_, err := annotations.ParseNodeBGP("metal.equinix.com", n.Annotations)
		return n.Spec.ProviderID != "" && initialized(n) && len(n.Status.Addresses) == 3 && err == nil
	}
	node := v.becomes(t, first, complete)
	if node.Spec.ProviderID != "equinixmetal://"+device || node.Labels["node.kubernetes.io/instance-type"] != "c3.small.x86" ||
		node.Labels["topology.kubernetes.io/region"] != "da" || node.Labels["topology.kubernetes.io/zone"] != "da11" {
		t.Errorf("%s %v", node.Spec.ProviderID, node.Labels)
	}
	peers := require.Value(annotations.ParseNodeBGP("metal.equinix.com", node.Annotations))(t)
	if p := peers.Peers; len(p) != 2 || p[1].Peer.String() != "169.254.255.2" || string(p[0].Password) != "Secret0000" || !p[0].Multihop || p[0].Source.String() != "10.64.0.1" {
		t.Errorf("%+v", peers)
	}

	v.becomes(t, off, func(n *corev1.Node) bool {
		return complete(n) && slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == "node.cloudprovider.kubernetes.io/shutdown" })
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, controlplane.AwaitGone(ctx, v.Client.CoreV1().Nodes(), gone))

	require.NoError(t, c.Kill())
	v.config["loadbalancer"] = ""
	v.start(t)
	v.becomes(t, first, func(n *corev1.Node) bool {
		for key := range n.Annotations {
			if strings.HasPrefix(key, "metal.equinix.com/") || key == annotations.NodeBGPKeys {
				return false
			}
		}
		return true
	})
}

// killed kills the ccm at each step of a Service's address, starts another, and counts what the project owns.
func (b *bed) killed(t *testing.T) {
	const buy, release = "POST /projects/{project}/ips", "DELETE /ips/{id}"
	// atAPI stops the next call of a pattern, before it is done or after.
	atAPI := func(call string, after bool) func(*vendor) chan struct{} {
		return func(v *vendor) chan struct{} {
			reached := make(chan struct{})
			stop := func(ctx context.Context) { close(reached); <-ctx.Done() }
			fault := metalapi.Fault{Call: call, Times: 1, Before: stop}
			if after {
				fault.Before, fault.After = nil, stop
			}
			v.api.Inject(fault)
			return reached
		}
	}
	atWrite := func(v *vendor) chan struct{} {
		reached := make(chan struct{})
		v.hold.Store(&reached)
		return reached
	}
	for _, step := range []struct {
		name    string
		stop    func(*vendor) chan struct{}
		release bool
	}{
		{"before the purchase is done", atAPI(buy, false), false},
		{"purchase done, answer under way", atAPI(buy, true), false},
		{"bought, Service not written", atWrite, false},
		{"before the release is done", atAPI(release, false), true},
		{"release done, answer under way", atAPI(release, true), true},
		{"released, finalizer still there", atWrite, true},
	} {
		t.Run(step.name, func(t *testing.T) {
			v := b.vendor(t)
			c := v.start(t)
			v.service(t, "other")
			other := v.has(t, "other")
			if step.release {
				v.service(t, "web")
				v.has(t, "web")
			}
			reached := step.stop(v)
			if step.release {
				v.delete(t, "web")
			} else {
				v.service(t, "web")
			}
			select {
			case <-reached:
			case <-time.After(patience):
				t.Fatal("the step is never reached")
			}
			require.NoError(t, c.Kill())
			v.start(t)
			want := []string{other}
			if step.release {
				v.gone(t, "web")
			} else {
				want = append(want, v.has(t, "web"))
			}
			slices.Sort(want)
			if got := v.owned(); !slices.Equal(got, want) {
				t.Errorf("the project owns %v, want %v", got, want)
			}
			if !step.release {
				v.delete(t, "web")
				v.gone(t, "web")
				if got := v.owned(); !slices.Equal(got, []string{other}) {
					t.Errorf("after the Service: %v", got)
				}
			}
		})
	}
	t.Run("deleted with its finalizer while nobody ran", func(t *testing.T) {
		v := b.vendor(t)
		c := v.start(t)
		v.service(t, "web")
		v.has(t, "web")
		require.NoError(t, c.Kill())
		v.clean(t)
		v.start(t)
		await(t, "the orphan is given back", func() bool { return len(v.owned()) == 0 })
	})
}

func (b *bed) quota(t *testing.T) {
	v := b.vendor(t, func(c *metalapi.Config) { c.Quota = 1 })
	v.start(t)
	v.service(t, "first")
	v.has(t, "first")
	for i := range 10 {
		v.service(t, fmt.Sprintf("waits-%d", i))
	}
	await(t, "an Event that names the remedy", func() bool {
		text := v.events(t, "waits-9")
		return strings.Contains(text, "Warning AddressUnavailable") && strings.Contains(text, "has reached its IP quota") && strings.Contains(text, "higher quota")
	})
	if n := v.count("POST"); n > 6 { // those under way at once, not one for each
		t.Errorf("%d tries to buy", n)
	}
	v.delete(t, "first")
	await(t, "its place is taken at once", func() bool { return len(v.owned()) == 1 && v.served(t) == 1 })
}

// served counts the load balancers that have an address.
func (v *vendor) served(t *testing.T) int {
	t.Helper()
	all := require.Value(v.Client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{}))(t)
	n := 0
	for _, svc := range all.Items {
		if svc.DeletionTimestamp == nil && svc.Annotations[annotations.LoadBalancerIPs] != "" {
			n++
		}
	}
	return n
}

func (b *bed) wrongToken(t *testing.T) {
	v := b.vendor(t)
	v.config["apiKey"] = "wrong-token-of-mine"
	c := v.start(t)
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	text := string(require.Value(os.ReadFile(c.Log()))(t))
	if c.Err() == nil || strings.Count(text, "the API token is refused") != 1 || strings.Contains(text, "wrong-token") {
		t.Errorf("%v\n%s", c.Err(), text)
	}
	if n := v.count(""); n != 1 {
		t.Errorf("%d calls with a wrong token", n)
	}
}
