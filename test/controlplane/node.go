package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	conflict "k8s.io/client-go/util/retry"

	"daymark/test/netns"
)

// Node is a host of a cluster. Etcd, APIServer and Proxy are what was started last
// of each, nil before: kill, freeze or stop them as commands, and start them again
// with the node's Start methods.
type Node struct {
	*netns.Host
	Etcd, APIServer, Proxy *netns.Command

	cluster *Cluster
	number  int
	pods    int
}

// Where kubeadm puts things on a node.
const (
	pkiDir    = "/etc/kubernetes/pki"
	AdminConf = "/etc/kubernetes/admin.conf"
)

// PodCIDRs are the node's share of the cluster's.
func (n *Node) PodCIDRs() []netip.Prefix {
	v4, v6 := PodCIDRs[0].Addr().As4(), PodCIDRs[1].Addr().As16()
	v4[2] += byte(n.number)
	v6[7] = byte(n.number)
	return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(v4), 24), netip.PrefixFrom(netip.AddrFrom16(v6), 64)}
}

func (n *Node) prepare() error {
	if err := n.Forward(); err != nil {
		return err
	}
	c := n.cluster
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	endpoint := c.cfg.Endpoint
	if !endpoint.IsValid() {
		endpoint = n.Addr()
	}
	conf, err := c.Kubeconfig(endpoint, admin)
	if err != nil {
		return err
	}
	cert, key, err := c.ca.server(n.names())
	if err != nil {
		return err
	}
	var errs []error
	for path, data := range map[string][]byte{
		AdminConf:                  conf,
		pkiDir + "/ca.crt":         c.ca.pem,
		pkiDir + "/apiserver.crt":  cert,
		pkiDir + "/apiserver.key":  key,
		pkiDir + "/sa.key":         c.saKey,
		"/etc/kubernetes/hostname": []byte(n.Name()),
	} {
		errs = append(errs, n.WriteFile(path, data))
	}
	return errors.Join(errs...)
}

// names are what the API server of this node may be called.
func (n *Node) names() []string {
	names := []string{
		"localhost", "127.0.0.1", "::1", n.Name(), n.Addr().String(), n.Addr6().String(),
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	for _, cidr := range ServiceCIDRs {
		names = append(names, cidr.Addr().Next().String())
	}
	if n.cluster.cfg.Endpoint.IsValid() {
		names = append(names, n.cluster.cfg.Endpoint.String())
	}
	return append(names, n.cluster.cfg.Names...)
}

// routeTo tells this node the way to another's pods.
func (n *Node) routeTo(other *Node) error {
	cidrs := other.PodCIDRs()
	return errors.Join(n.AddRoute(cidrs[0], other.Addr()), n.AddRoute(cidrs[1], other.Addr6()))
}

// Start starts etcd and the API server, waits until that is ready, and registers
// the Node: what `kubeadm init` does on a first node and `kubeadm join` on others.
func (n *Node) Start(ctx context.Context) error {
	if err := n.StartEtcd(ctx); err != nil {
		return err
	}
	return n.startServer(ctx)
}

// startServer starts the API server and registers the Node, as one of the control
// plane.
func (n *Node) startServer(ctx context.Context) error {
	if err := n.StartAPIServer(ctx); err != nil {
		return err
	}
	if err := n.Ready(ctx); err != nil {
		return err
	}
	return n.Register(ctx, map[string]string{"node-role.kubernetes.io/control-plane": ""})
}

// Client is an administrator's client of this node's own API server, asked from the
// node itself.
func (n *Node) Client() (*kubernetes.Clientset, error) {
	admin, err := n.cluster.Admin()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(n.cluster.Config(n.Host, n.Addr(), admin))
}

// anyClient is Client, or the cluster's on a worker.
func (n *Node) anyClient() (*kubernetes.Clientset, error) {
	if n.APIServer != nil {
		return n.Client()
	}
	return n.cluster.Client()
}

// Register creates the Node object with the given labels, ready and with the
// host's addresses, unless it is there.
func (n *Node) Register(ctx context.Context, labels map[string]string) error {
	client, err := n.anyClient()
	if err != nil {
		return err
	}
	all := map[string]string{corev1.LabelHostname: n.Name(), corev1.LabelOSStable: "linux"}
	for k, v := range labels {
		all[k] = v
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name(), Labels: all}}
	for _, cidr := range n.PodCIDRs() {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, cidr.String())
	}
	node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	_, err = client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("registering node %s: %w", n.Name(), err)
	}
	return n.reportStatus(ctx, client, func(status *corev1.NodeStatus) {
		status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: n.Name()},
			{Type: corev1.NodeInternalIP, Address: n.Addr().String()},
			{Type: corev1.NodeInternalIP, Address: n.Addr6().String()},
		}
		status.Conditions = []corev1.NodeCondition{condition(corev1.ConditionTrue)}
	})
}

// reportStatus changes the Node's status, again where somebody else wrote the Node meanwhile.
func (n *Node) reportStatus(ctx context.Context, client kubernetes.Interface, change func(*corev1.NodeStatus)) error {
	nodes := client.CoreV1().Nodes()
	err := conflict.RetryOnConflict(conflict.DefaultBackoff, func() error {
		node, err := nodes.Get(ctx, n.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(&node.Status)
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("reporting status of node %s: %w", n.Name(), err)
	}
	return nil
}

// SetReady sets the Node's Ready condition, as kubelet and node controller would:
// True, False, or Unknown for a node that is not heard of.
func (n *Node) SetReady(ctx context.Context, status corev1.ConditionStatus) error {
	client, err := n.cluster.Client()
	if err != nil {
		return err
	}
	return n.reportStatus(ctx, client, func(s *corev1.NodeStatus) { s.Conditions = []corev1.NodeCondition{condition(status)} })
}

func condition(status corev1.ConditionStatus) corev1.NodeCondition {
	return corev1.NodeCondition{
		Type: corev1.NodeReady, Status: status, Reason: "Bed", LastTransitionTime: metav1.Now(), LastHeartbeatTime: metav1.Now(),
	}
}

// file is the path of a file of this node's own, for a program's data.
func (n *Node) file(name string) (string, error) {
	dir, err := n.Dir()
	return filepath.Join(dir, name), err
}
