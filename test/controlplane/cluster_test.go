package controlplane_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

const reader = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects:
- {kind: ServiceAccount, namespace: kube-system, name: reader}
`

func TestCluster(t *testing.T) {
	began := time.Now()
	bed := controlplane.StartBed(t, "node1", "node2", "node3")
	t.Logf("three nodes after %s", time.Since(began).Round(100*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	admin := require.Value(bed.Admin())(t)
	client := require.Value(bed.Cluster.Client())(t)

	t.Run("endpoint", func(t *testing.T) {
		vip := netip.PrefixFrom(bed.Endpoint(), 32)
		require.NoError(t, bed.Node("node2").AddAddr(vip, "eth0"))
		through := require.Value(kubernetes.NewForConfig(bed.Config(bed.Client, bed.Endpoint(), admin)))(t)
		nodes := require.Value(through.CoreV1().Nodes().List(ctx, metav1.ListOptions{}))(t)
		if len(nodes.Items) != 3 {
			t.Errorf("%d nodes, want 3", len(nodes.Items))
		}
		require.NoError(t, bed.Node("node2").DelAddr(vip, "eth0"))
	})

	t.Run("service account", func(t *testing.T) {
		require.NoError(t, controlplane.Apply(ctx, bed.Config(bed.Client, bed.Node("node1").Addr(), admin), []byte(reader)))
		identity := require.Value(controlplane.ServiceAccount(ctx, client, "kube-system", "reader"))(t)
		// Another server than the one that issued the token.
		as := require.Value(kubernetes.NewForConfig(bed.Config(bed.Client, bed.Node("node3").Addr(), identity)))(t)
		require.Value(as.CoreV1().Nodes().List(ctx, metav1.ListOptions{}))(t)
		if _, err := as.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("listing pods without the right: %v", err)
		}
		if err := controlplane.Apply(ctx, bed.Config(bed.Client, bed.Node("node1").Addr(), admin), []byte(strings.Replace(reader, "rules:", "rulez:", 1))); err == nil {
			t.Error("a misspelt field was accepted")
		}
	})

	t.Run("service", func(t *testing.T) { testService(ctx, t, bed, client) })

	t.Run("quorum without one", func(t *testing.T) {
		require.NoError(t, bed.Node("node1").PowerOff())
		survivor := require.Value(bed.Node("node2").Client())(t)
		for {
			short, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := survivor.CoreV1().ConfigMaps("default").Create(short, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a"}}, metav1.CreateOptions{})
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("no write without node1: %v", err)
			}
		}
		require.NoError(t, bed.Node("node1").Mend())
		require.NoError(t, bed.Node("node1").StartEtcd(ctx))
		require.NoError(t, bed.Node("node1").StartAPIServer(ctx))
		require.NoError(t, bed.Node("node1").Ready(ctx))
	})
}

// TestJoin grows a control plane as kubeadm does, with the API served all the time.
func TestJoin(t *testing.T) {
	lab, lan := netns.Lan(t, "node1", "node2")
	cluster := require.Value(controlplane.New(lab, controlplane.Config{Programs: controlplane.Programs(t), Endpoint: lan.Addr(100)}))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, name := range []string{"node1", "node2"} {
		node := require.Value(cluster.Add(lab.Host(name)))(t)
		require.NoError(t, node.Start(ctx))
	}
	// What the second server reads, the first one's etcd has told its own.
	client := require.Value(cluster.Node("node2").Client())(t)
	nodes := require.Value(client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}))(t)
	if len(nodes.Items) != 2 {
		t.Errorf("%d nodes, want 2", len(nodes.Items))
	}
}

// testService reaches a LoadBalancer address, which the test gives to a node, from
// the client, in both families and over both nodes.
func testService(ctx context.Context, t *testing.T, bed *controlplane.Bed, client kubernetes.Interface) {
	both := corev1.IPFamilyPolicyRequireDualStack
	service := require.Value(client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}, metav1.CreateOptions{}))(t)
	pods := []*controlplane.Pod{require.Value(bed.Node("node1").AddPod("web1"))(t), require.Value(bed.Node("node3").AddPod("web3"))(t)}
	require.NoError(t, controlplane.SetEndpoints(ctx, client, service, controlplane.Ready(pods...)...))
	vips := []netip.Addr{bed.LAN.Addr(110), bed.LAN.Addr6(110)}
	for _, vip := range vips {
		service.Status.LoadBalancer.Ingress = append(service.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: vip.String()})
		require.NoError(t, bed.Node("node2").AddAddr(netip.PrefixFrom(vip, vip.BitLen()), "eth0"))
	}
	require.Value(client.CoreV1().Services("default").UpdateStatus(ctx, service, metav1.UpdateOptions{}))(t)
	for _, vip := range vips {
		prober := netns.StartProber(netns.Probe{From: bed.Client, Network: "http", To: netip.AddrPortFrom(vip, 80)})
		for _, pod := range pods {
			_, err := prober.Wait(ctx, time.Time{}, func(r netns.Reached) bool { return r.By == pod.Name() })
			require.NoError(t, err)
		}
		prober.Stop()
	}
}
