package agent_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// A Service's address is on one node and announced, its status, annotation and Event say so; on SIGTERM of the holder another
// node has it within a second. One that asks for the gateway's address does not get it, nor for the control plane's, which nobody has.
func TestServiceIsHeldReportedAndHandedOver(t *testing.T) {
	b := newBed(t, "n1", "n2")
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	gateway, plane, published := b.lan.Addr(254), b.lan.Addr(200), b.lan.Addr(201) // the kubeconfig's, and kubeadm's
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: map[string]string{
		"kubeconfig": "apiVersion: v1\nkind: Config\nclusters: [{name: '', cluster: {server: '" + controlplane.Server(published) + "'}}]\n",
	}}
	require.Value(b.client.CoreV1().ConfigMaps("kube-public").Create(ctx, info, metav1.CreateOptions{}))(t)
	agents := map[string]*netns.Command{}
	for _, n := range b.nodes {
		require.Value(n.Host.Run(ctx, "ip", "route", "add", "default", "via", gateway.String()))(t)
		agents[n.Name()] = b.agent(n, "svc_enable=true")
	}
	addr := b.lan.Addr(100)
	b.service("web", addr, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	thieves := map[string]netip.Addr{"thief": gateway, "usurper": plane, "pretender": published}
	for name, addr := range thieves {
		b.service(name, addr, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	}

	svc := b.held(ctx, "web", "n1", "n2")
	if in := svc.Status.LoadBalancer.Ingress; in[0].IP != addr.String() || len(in[0].Ports) != 1 || in[0].Ports[0].Port != 80 {
		t.Errorf("status is %v", in)
	}
	first := svc.Annotations[annotations.VIPHost]
	other := map[string]string{"n1": "n2", "n2": "n1"}[first]
	require.NoError(t, b.cluster.Node(first).Host.WaitAddr(ctx, addr))
	b.event(ctx, "web", "Held", "Held by "+first+" with ARP")
	for name, why := range map[string]string{
		"thief": "the default gateway on eth0", "usurper": "the API server's address", "pretender": "the control plane's address",
	} {
		b.event(ctx, name, "AddressRefused", thieves[name].String()+": "+why)
	}

	began := time.Now()
	require.NoError(t, agents[first].Stop(ctx))
	answer := require.Value(b.lan.Observer().Wait(ctx, addr, began, netns.FromHost(other)))(t)
	t.Log("the successor was heard after", answer.At.Sub(began), "of", first)
	if out, err := b.cluster.Node(other).Host.Run(ctx, require.Value(vip())(t), "status"); err == nil {
		t.Logf("%s", out)
	} else {
		t.Error(err)
	}
	if late := answer.At.Sub(began); late > time.Second {
		t.Errorf("the successor was heard after %s", late)
	}
	b.held(ctx, "web", other)
	b.event(ctx, "web", "Held", "Held by "+other+" with ARP")
}

// A Service of policy Local is held where its endpoints are: under the one lease when that is its holder, and else beside it. On its
// way between the two it has one holder, save the overlap of a planned hand-over.
func TestServiceOfPolicyLocalFollowsItsEndpoints(t *testing.T) {
	b := newBed(t, "n1", "n2")
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	for _, n := range b.nodes {
		b.agent(n, "svc_enable=true")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	addr := b.lan.Addr(100)
	b.service("web", addr, corev1.ServiceExternalTrafficPolicyLocal, "n1")
	svc := b.held(ctx, "web", "n1")
	defer require.Value(b.lan.Observer().Ask(addr, 20*time.Millisecond))(t)()
	const tolerance = 100 * time.Millisecond
	began := time.Now()
	for range 3 {
		for i, node := range []string{"n2", "n1"} {
			b.endpoints(svc, node)
			b.held(ctx, "web", node)
			require.NoError(t, b.nodes[i].WaitNoAddr(ctx, addr))
			over := time.NewTimer(3 * tolerance) // else this hand-over and the next one look like one
			<-over.C
		}
	}
	history := b.lan.Observer().History(addr, began)
	t.Logf("two answered for %v, nobody for %v", history.LongestOverlap(tolerance), history.LongestSilence(began, time.Now()))
	if two := history.LongestOverlap(tolerance); two > time.Second {
		t.Errorf("two answered for %v:\n%s", two, history.Turns())
	}
	if none := history.LongestSilence(began, time.Now()); none > 2*time.Second {
		t.Errorf("nobody answered for %v:\n%s", none, history.Turns())
	}
	if turns := history.Turns(); len(turns) < 7 {
		t.Errorf("the address was held by turns:\n%s", turns)
	}
}

// What becomes an address of a node or its gateway's while the agent runs is refused from then on, and let go of where it was held; what
// kube-proxy in IPVS mode does with the addresses of Services changes nothing. That it makes every node answer for them is told on the Node.
func TestAddressesThatBecomeTheNodesOwnAreRefused(t *testing.T) {
	b := newBed(t, "n1")
	b.start()
	node := b.nodes[0]
	b.agent(node, "svc_enable=true")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ip := func(args ...string) {
		t.Helper()
		require.Value(node.Host.Run(ctx, append([]string{"ip"}, args...)...))(t)
	}
	kept, gateway, own := b.lan.Addr(100), b.lan.Addr(101), b.lan.Addr(102)
	for name, addr := range map[string]netip.Addr{"kept": kept, "gateway": gateway, "own": own} {
		b.service(name, addr, corev1.ServiceExternalTrafficPolicyCluster, "n1")
		b.held(ctx, name, "n1")
	}
	require.NoError(t, node.Sysctl("net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.eth0.arp_ignore=0"))
	ip("link", "add", "kube-ipvs0", "type", "bridge") // a dummy is not to be had everywhere
	ip("link", "set", "kube-ipvs0", "arp", "off", "up")
	ip("address", "add", kept.String()+"/32", "dev", "kube-ipvs0")
	b.nodeEvent(ctx, node, corev1.EventTypeWarning, "ARPNotStrict", "kube-proxy has the addresses of all Services on kube-ipvs0, and the kernel answers "+
		"ARP for them on eth0, also while another node holds them: set ipvs.strictARP in kube-proxy's configuration (arp_ignore is 0)")

	ip("route", "add", "default", "via", gateway.String())
	b.event(ctx, "gateway", "AddressRefused", gateway.String()+": the default gateway on eth0")
	ip("address", "add", own.String()+"/16", "dev", "kube-ipvs0")
	b.event(ctx, "own", "AddressRefused", own.String()+": an address of node n1 itself")
	require.NoError(t, node.Host.WaitNoAddr(ctx, gateway))
	for _, name := range []string{"gateway", "own"} {
		require.Value(controlplane.Await(ctx, b.client.CoreV1().Services("default"), name, func(s *corev1.Service) bool {
			return len(s.Status.LoadBalancer.Ingress) == 0 && s.Annotations[annotations.VIPHost] == ""
		}))(t)
	}

	ip("route", "del", "default")
	b.held(ctx, "gateway", "n1")
	require.NoError(t, node.Host.WaitAddr(ctx, gateway))
	b.held(ctx, "kept", "n1")
}

// held waits until the Service's status has an address and one of nodes holds it.
func (b *bed) held(ctx context.Context, name string, nodes ...string) *corev1.Service {
	b.t.Helper()
	return require.Value(controlplane.Await(ctx, b.client.CoreV1().Services("default"), name, func(s *corev1.Service) bool {
		for _, n := range nodes {
			if len(s.Status.LoadBalancer.Ingress) > 0 && s.Annotations[annotations.VIPHost] == n {
				return true
			}
		}
		return false
	}))(b.t)
}

// event waits for an Event about a Service.
func (b *bed) event(ctx context.Context, name, reason, text string) {
	b.t.Helper()
	api := b.client.CoreV1().Events("default")
	watch := require.Value(api.Watch(ctx, metav1.ListOptions{}))(b.t)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			b.t.Fatalf("no event %q %q about %s", reason, text, name)
		case ev := <-watch.ResultChan():
			e, ok := ev.Object.(*corev1.Event)
			if ok && e.InvolvedObject.Name == name && e.Reason == reason && e.Message == text {
				return
			}
		}
	}
}
