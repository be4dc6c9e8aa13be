package agent_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// bed is a LAN of nodes, of which the first runs the only API server.
type bed struct {
	t       *testing.T
	lan     *netns.LAN
	cluster *controlplane.Cluster
	nodes   []*controlplane.Node
	pods    map[string]*controlplane.Pod // by node
	client  *kubernetes.Clientset
}

// newBed makes hosts nodes of a cluster whose API server runs on the first. Nothing else runs.
func newBed(t *testing.T, hosts ...string) *bed {
	t.Helper()
	return newBedWith(t, nil, hosts...)
}

// newBedWith is newBed with more flags for the API server.
func newBedWith(t *testing.T, flags []string, hosts ...string) *bed {
	t.Helper()
	programs := controlplane.Programs(t)
	lab, lan := netns.Lan(t, hosts...)
	b := &bed{t: t, lan: lan, pods: map[string]*controlplane.Pod{}}
	b.cluster = require.Value(controlplane.New(lab, controlplane.Config{Programs: programs, Endpoint: lan.Addr(200), APIServer: flags}))(t)
	for _, name := range hosts {
		b.nodes = append(b.nodes, require.Value(b.cluster.Add(lab.Host(name)))(t))
	}
	return b
}

// start starts the API server and registers all nodes.
func (b *bed) start() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 90*time.Second)
	defer cancel()
	require.NoError(b.t, b.nodes[0].Start(ctx))
	b.client = require.Value(b.nodes[0].Client())(b.t)
}

// vip returns the program, built once.
var vip = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vip-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "vip")
	cmd := exec.Command("go", "build", "-o", out, "daymark/cmd/vip")
	cmd.Stderr = os.Stderr
	return out, cmd.Run()
})

// agent starts the program on a node, with more environment.
func (b *bed) agent(node *controlplane.Node, env ...string) *netns.Command {
	b.t.Helper()
	program := require.Value(vip())(b.t)
	kubeconfig := "/etc/kubernetes/admin.conf"
	c := node.Host.Command(program, "manager")
	c.Label = "vip"
	c.Env = merge([]string{
		"vip_arp=true", "vip_leaderelection=true", "vip_nodename=" + node.Name(), "vip_interface=eth0", "k8s_config_file=" + kubeconfig,
		"vip_loglevel=-4", "kubernetes_addr=" + controlplane.Server(b.nodes[0].Host.Addr()), "vip_subnet=32,128",
	}, env)
	require.NoError(b.t, c.Start())
	return c
}

// service creates a Service with an address and one endpoint on each of nodes.
func (b *bed) service(name string, addr netip.Addr, policy corev1.ServiceExternalTrafficPolicy, nodes ...string) {
	b.t.Helper()
	ctx := b.t.Context()
	svc := require.Value(b.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"kube-vip.io/loadbalancerIPs": addr.String()}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: policy,
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}, metav1.CreateOptions{}))(b.t)
	b.endpoints(svc, nodes...)
}

// endpoints makes a ready pod on each of nodes the whole of what the Service has.
func (b *bed) endpoints(svc *corev1.Service, nodes ...string) {
	b.t.Helper()
	var pods []*controlplane.Pod
	for _, name := range nodes {
		if b.pods[name] == nil {
			b.pods[name] = require.Value(b.cluster.Node(name).AddPod("pod-" + name))(b.t)
		}
		pods = append(pods, b.pods[name])
	}
	require.NoError(b.t, controlplane.SetEndpoints(b.t.Context(), b.client, svc, controlplane.Ready(pods...)...))
}

// merge returns base with what env sets anew; an empty value unsets.
func merge(base, env []string) []string {
	name := func(kv string) string { key, _, _ := strings.Cut(kv, "="); return key }
	out := slices.DeleteFunc(base, func(kv string) bool {
		return slices.ContainsFunc(env, func(other string) bool { return name(other) == name(kv) })
	})
	for _, kv := range env {
		if !strings.HasSuffix(kv, "=") {
			out = append(out, kv)
		}
	}
	return out
}
