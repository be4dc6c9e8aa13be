package peering_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"daymark/internal/agent"
	"daymark/internal/bgp"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/programs"
	"daymark/test/require"
	"daymark/test/router"
)

// web is the address that both nodes have on lo, where they answer for it with their names.
const web = "192.0.2.10"

// bed is a client behind a router, and two nodes on the router's other side, of which the first runs the API server.
type bed struct {
	t              *testing.T
	lab            *netns.Lab
	rack           *netns.LAN // of the nodes
	client, router *netns.Host
	peer           string // the router's address on the nodes' side
	frr            *router.FRR
	cluster        *controlplane.Cluster
	nodes          []*controlplane.Node
	pods           map[string]*controlplane.Pod // by node
	api            *kubernetes.Clientset
	agents         map[string]*netns.Command // by node
}

// newBed starts API server and router, which takes sessions of the nodes as AS 65000, and whose further lines for each are given.
func newBed(t *testing.T, neighbor ...string) *bed {
	t.Helper()
	set := controlplane.Programs(t)
	router.RequireFRR(t)
	lab := netns.Test(t)
	outer, inner := require.Value(lab.AddLAN("outer"))(t), require.Value(lab.AddLAN("rack"))(t)
	b := &bed{
		t: t, lab: lab, rack: inner, client: require.Value(lab.AddHost("client", outer))(t), router: require.Value(lab.AddHost("router", outer, inner))(t),
		pods: map[string]*controlplane.Pod{}, agents: map[string]*netns.Command{},
	}
	b.peer = b.router.AddrOn(inner).String()
	b.cluster = require.Value(controlplane.New(lab, controlplane.Config{Programs: set, Names: []string{web, "192.0.2.100"}}))(t)
	config := "router bgp 65001\n no bgp ebgp-requires-policy\n bgp bestpath as-path multipath-relax\n"
	for _, name := range []string{"n1", "n2"} {
		host := require.Value(lab.AddHost(name, inner))(t)
		n := require.Value(b.cluster.Add(host))(t)
		require.NoError(t, host.AddAddr(netip.MustParsePrefix(web+"/32"), "lo"))
		require.NoError(t, host.AddRoute(outer.Prefixes()[0], b.router.AddrOn(inner)))
		require.Value(host.Echo("udp", web+":7"))(t)
		for _, line := range append([]string{"remote-as 65000", "timers connect 1"}, neighbor...) {
			config += fmt.Sprintf(" neighbor %s %s\n", host.Addr(), line)
		}
		b.nodes = append(b.nodes, n)
	}
	require.NoError(t, b.client.AddRoute(netip.MustParsePrefix("192.0.2.0/24"), b.router.AddrOn(outer)))
	require.NoError(t, b.router.Sysctl("net.ipv4.fib_multipath_hash_policy=1"))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	b.frr = require.Value(router.StartFRR(ctx, b.router, config))(t)
	require.NoError(t, b.nodes[0].Start(ctx))
	b.api = require.Value(b.nodes[0].Client())(t)
	require.NoError(t, b.nodes[1].Register(ctx, nil))
	for _, n := range b.nodes {
		b.pods[n.Name()] = require.Value(n.AddPod("pod-" + n.Name()))(t)
	}
	return b
}

// product is vip and ccm, built once.
var product = sync.OnceValues(func() (programs.Product, error) {
	dir, err := os.MkdirTemp("", "product-")
	if err != nil {
		return programs.Product{}, err
	}
	return programs.BuildProduct(context.Background(), dir, io.Discard)
})

// start runs `vip manager` with these flags on a node. A flag that starts with a letter is an environment variable.
func (b *bed) start(node *controlplane.Node, flags ...string) *netns.Command {
	b.t.Helper()
	c := node.Host.Command(require.Value(product())(b.t).VIP, "manager", "--bgp", "--interface=lo", "--log=-4", "--nodeName="+node.Name())
	c.Label = "vip"
	c.Env = []string{"k8s_config_file=" + controlplane.AdminConf, "kubernetes_addr=" + controlplane.Server(b.nodes[0].Addr())}
	for _, f := range flags {
		if strings.HasPrefix(f, "--") {
			c.Args = append(c.Args, f)
		} else {
			c.Env = append(c.Env, f)
		}
	}
	require.NoError(b.t, c.Start())
	b.agents[node.Name()] = c
	return c
}

// startAll runs it on every node.
func (b *bed) startAll(flags ...string) {
	b.t.Helper()
	for _, n := range b.nodes {
		b.start(n, flags...)
	}
}

// stop stops the agents, and fails when one ended badly.
func (b *bed) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for name, c := range b.agents {
		require.NoError(b.t, c.Stop(ctx))
		if err := c.Err(); err != nil {
			b.t.Errorf("the agent of %s ended: %v", name, err)
		}
		delete(b.agents, name)
	}
}

// serve makes a Service with an address, and a ready pod on each of nodes.
func (b *bed) serve(name, addr string, policy corev1.ServiceExternalTrafficPolicy, nodes ...string) {
	b.t.Helper()
	svc := require.Value(b.api.CoreV1().Services("default").Create(b.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"kube-vip.io/loadbalancerIPs": addr}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: policy, Ports: []corev1.ServicePort{{Port: 80}}, AllocateLoadBalancerNodePorts: new(bool),
		},
	}, metav1.CreateOptions{}))(b.t)
	b.endpoints(svc, nodes...)
}

func (b *bed) endpoints(svc *corev1.Service, nodes ...string) {
	b.t.Helper()
	var pods []*controlplane.Pod
	for _, n := range nodes {
		pods = append(pods, b.pods[n])
	}
	require.NoError(b.t, controlplane.SetEndpoints(b.t.Context(), b.api, svc, controlplane.Ready(pods...)...))
}

func (b *bed) service(name string) *corev1.Service {
	b.t.Helper()
	return require.Value(b.api.CoreV1().Services("default").Get(b.t.Context(), name, metav1.GetOptions{}))(b.t)
}

func (b *bed) remove(names ...string) {
	b.t.Helper()
	for _, name := range names {
		require.NoError(b.t, b.api.CoreV1().Services("default").Delete(b.t.Context(), name, metav1.DeleteOptions{}))
	}
}

// patchNode merges a JSON document into a Node.
func (b *bed) patchNode(name, patch string) {
	b.t.Helper()
	require.Value(b.api.CoreV1().Nodes().Patch(b.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}))(b.t)
}

func (b *bed) cordon(name string, cordoned bool) {
	b.t.Helper()
	b.patchNode(name, fmt.Sprintf(`{"spec":{"unschedulable":%v}}`, cordoned))
}

// announcers are the nodes that offer the router an address now, sorted; those whose path is leaving with a star.
func (b *bed) announcers(addr string) string {
	b.t.Helper()
	var names []string
	for _, p := range require.Value(b.frr.Paths(b.t.Context(), addr+"/32"))(b.t) {
		for _, n := range b.nodes {
			if p.Peer.PeerId != n.Addr().String() {
				continue
			}
			if p.Leaving() {
				names = append(names, n.Name()+"*")
			} else {
				names = append(names, n.Name())
			}
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// by waits until exactly these nodes offer the router an address.
func (b *bed) by(within time.Duration, addr, nodes string) {
	b.t.Helper()
	got := ""
	b.eventually(within, func() string { return fmt.Sprintf("%s by %q, not %q", addr, got, nodes) }, func() bool {
		got = b.announcers(addr)
		return got == nodes
	})
}

// eventually waits until ok, looking often, or fails with what is amiss.
func (b *bed) eventually(within time.Duration, amiss func() string, ok func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatalf("not within %s: %s", within, amiss())
		}
	}
}

// view is what the agent on a node shows, and the peers in it; nothing where it doesn't listen yet.
func (b *bed) view(node *controlplane.Node) (v agent.View, peers []bgp.PeerState) {
	b.t.Helper()
	text := b.page(node, "/vips")
	if text == "" {
		return v, nil
	}
	require.NoError(b.t, json.Unmarshal([]byte(text), &v))
	require.NoError(b.t, json.Unmarshal(require.Value(json.Marshal(v.Rooms["bgp"]))(b.t), &peers))
	return v, peers
}

// page returns what the agent on a node answers, nothing where it doesn't listen.
func (b *bed) page(node *controlplane.Node, path string) string {
	b.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: node.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	answer, err := client.Get("http://127.0.0.1:2112" + path)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	return string(require.Value(io.ReadAll(answer.Body))(b.t))
}

// up waits until the agents of nodes have sessions with the router.
func (b *bed) up(nodes ...*controlplane.Node) {
	b.t.Helper()
	for _, n := range nodes {
		var peers []bgp.PeerState
		b.eventually(30*time.Second, func() string { return fmt.Sprintf("%s has peers %+v", n.Name(), peers) }, func() bool {
			_, peers = b.view(n)
			return slices.ContainsFunc(peers, bgp.PeerState.Established)
		})
	}
}

// told waits for an Event on a Node, of a reason and with a text in its message.
func (b *bed) told(node, reason, text string) {
	b.t.Helper()
	var all []string
	b.eventually(40*time.Second, func() string { return fmt.Sprintf("no Event %s %q, but %q", reason, text, all) }, func() bool {
		all = b.events(node)
		return slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, reason+" ") && strings.Contains(e, text) })
	})
}

// events are the Events on a Node, "Reason message" each.
func (b *bed) events(node string) []string {
	b.t.Helper()
	list := require.Value(b.api.CoreV1().Events("default").List(b.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + node}))(b.t)
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason+" "+e.Message)
	}
	return out
}

// patience is after how long a question is lost. A machine that has other things to do answers late.
const patience = 2 * time.Second

// probe asks web through the router, again and again.
func (b *bed) probe() *netns.Prober {
	b.t.Helper()
	p := netns.StartProber(netns.Probe{From: b.client, Network: "udp", To: netip.MustParseAddrPort(web + ":7"), Timeout: patience})
	b.t.Cleanup(p.Stop)
	b.pause(300 * time.Millisecond)
	return p
}

// nothingLost fails unless every question that was asked between two moments was answered.
func (b *bed) nothingLost(p *netns.Prober, what string, from, to time.Time) {
	b.t.Helper()
	b.pause(time.Until(to.Add(patience + 200*time.Millisecond)))
	outage := p.Report(from, to)
	b.t.Logf("FAULT | BGP: %s | %s |", what, outage)
	if outage.Lost > 0 {
		b.t.Errorf("%s: %s", what, outage)
	}
}

// pause lets time go by, for what must not happen, or for a prober to see.
func (b *bed) pause(d time.Duration) {
	b.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.t.Context().Done():
	}
}
