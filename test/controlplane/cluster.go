// Package controlplane runs real Kubernetes control planes on hosts of a netns.Lab:
// etcd, kube-apiserver and kube-proxy as package programs finds them, with
// certificates, kubeconfigs and Node objects as kubeadm leaves them.
//
// A Cluster grows a Node at a time, in kubeadm's order: the first control-plane node
// alone, then the others join its etcd. A Single is one API server on the loopback
// of the test itself, for tests that need the API and no hosts.
//
// What is missing is missing on purpose: there is no kubelet, scheduler or
// controller manager, so nobody makes EndpointSlices, marks a Node not ready or
// empties a deleted namespace, unless a test does.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"daymark/test/netns"
	"daymark/test/programs"
)

// What a cluster uses for itself, all within the ranges of package netns.
var (
	ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("198.19.0.0/18"), netip.MustParsePrefix("fd00:19::/112")}
	PodCIDRs     = []netip.Prefix{netip.MustParsePrefix("198.19.64.0/18"), netip.MustParsePrefix("fd00:20::/32")}
)

// APIPort is the port of every API server of a Cluster.
const APIPort = 6443

// Config says what is common to a cluster's nodes.
type Config struct {
	Programs programs.Set
	// Endpoint is the control-plane VIP: in every server's certificate, and the server
	// in each node's admin.conf. Without one that is the node itself.
	Endpoint netip.Addr
	// Names are further addresses and DNS names for the servers' certificates.
	Names []string
	// APIServer are further flags of every API server.
	APIServer []string
}

// Cluster is a control plane in the making. It is safe for concurrent use, except
// that nodes are added and started one after the other.
type Cluster struct {
	lab   *netns.Lab
	cfg   Config
	ca    *authority
	saKey []byte // signs ServiceAccount tokens, PEM

	mu    sync.Mutex // guards nodes
	nodes []*Node
}

// New makes the certificates. Nothing runs yet.
func New(lab *netns.Lab, cfg Config) (*Cluster, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	saKey, err := newKeyPEM()
	if err != nil {
		return nil, err
	}
	return &Cluster{lab: lab, cfg: cfg, ca: ca, saKey: saKey}, nil
}

// Nodes are the nodes in the order in which they were added.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// Node returns the node of that name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes() {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// Add makes a host a node: it forwards, knows the way to the other nodes' pods, and
// has its certificates and kubeconfig below /etc/kubernetes, as after `kubeadm init`.
// Nothing runs on it yet.
func (c *Cluster) Add(host *netns.Host) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &Node{Host: host, cluster: c, number: len(c.nodes)}
	if err := n.prepare(); err != nil {
		return nil, fmt.Errorf("preparing node %s: %w", n.Name(), err)
	}
	for _, other := range c.nodes {
		if err := errors.Join(n.routeTo(other), other.routeTo(n)); err != nil {
			return nil, err
		}
	}
	c.nodes = append(c.nodes, n)
	return n, nil
}

// Server is the URL of an API server at an address.
func Server(addr netip.Addr) string {
	return "https://" + netip.AddrPortFrom(addr, APIPort).String()
}

// Config is a client's configuration for an API server at addr, dialled from a
// host, so that it takes the way that a program there would take.
func (c *Cluster) Config(from *netns.Host, addr netip.Addr, as Identity) *rest.Config {
	cfg := c.ca.config(Server(addr), as)
	cfg.Dial = from.Dial
	return cfg
}

// Admin is a cluster administrator.
func (c *Cluster) Admin() (Identity, error) {
	return c.ca.identity("kubernetes-admin", "system:masters")
}

// User is anybody by name and groups, known by a client certificate. RBAC decides
// what they may do.
func (c *Cluster) User(name string, groups ...string) (Identity, error) {
	return c.ca.identity(name, groups...)
}

// Kubeconfig is a kubeconfig file for an API server at addr.
func (c *Cluster) Kubeconfig(addr netip.Addr, as Identity) ([]byte, error) {
	return c.KubeconfigAt(Server(addr), as)
}

// KubeconfigAt is Kubeconfig for a server by its URL, for who reaches it by another way; see Config.Names.
func (c *Cluster) KubeconfigAt(server string, as Identity) ([]byte, error) {
	return c.ca.kubeconfig(server, as)
}

// Client is an administrator's client of the first node that has an API server
// running, asked from that node itself.
func (c *Cluster) Client() (*kubernetes.Clientset, error) {
	for _, n := range c.Nodes() {
		if n.APIServer != nil && running(n.APIServer) {
			return n.Client()
		}
	}
	return nil, errors.New("no API server runs")
}

// Start makes the hosts a new cluster's control plane, all at once, with everything
// on each: what a test wants that doesn't care in which order nodes came.
func (c *Cluster) Start(ctx context.Context, hosts ...*netns.Host) error {
	for _, h := range hosts {
		if _, err := c.Add(h); err != nil {
			return err
		}
	}
	if err := c.startEtcds(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes() {
		group.Go(func() error {
			if err := n.startServer(ctx); err != nil {
				return err
			}
			return n.StartProxy(ctx)
		})
	}
	return group.Wait()
}

func running(c *netns.Command) bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}
