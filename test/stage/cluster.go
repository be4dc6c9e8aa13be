package stage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/programs"
)

const (
	// AgentConf is the agents' kubeconfig on a node: the identity of their ServiceAccount, with exactly the generated rights.
	AgentConf = "/etc/kubernetes/kube-vip.conf"
	// echoPort is where each node answers with its own name, so that a client sees who is behind the control plane's address.
	echoPort = 7
	// ccmAccount is the ServiceAccount that `ccm manifest` makes.
	ccmAccount = "kube-vip-cloud-controller"
)

// Cluster is a demo's: a control plane that grows a node at a time, with an agent on each for the address, and a client outside. It belongs to one goroutine.
type Cluster struct {
	*controlplane.Cluster
	API  *rest.Config // an administrator's, through the address, from the client; as Kube there once Reach was called
	Kube *kubernetes.Clientset

	product programs.Product
	client  *netns.Host
	addr    netip.Addr
	flags   []string                  // of the agents' manifests
	agents  map[string]*netns.Command // by node
}

// NewCluster makes a cluster without nodes. Its address is the endpoint; the flags are those of `vip manifest pod` for its agents.
func (s *Stage) NewCluster(client *netns.Host, cfg controlplane.Config, flags ...string) (*Cluster, error) {
	cfg.Programs = s.Set
	c, err := controlplane.New(s.Lab, cfg)
	return &Cluster{Cluster: c, product: s.Product, client: client, addr: cfg.Endpoint, flags: flags, agents: map[string]*netns.Command{}}, err
}

// Join makes a host a node, with the files that kubeadm makes, and beside them the agents' kubeconfig of the API server at an address.
func (c *Cluster) Join(host *netns.Host, server netip.Addr) (*controlplane.Node, error) {
	if _, err := host.Echo("tcp", fmt.Sprintf("0.0.0.0:%d", echoPort)); err != nil {
		return nil, err
	}
	n, err := c.Add(host)
	if err != nil {
		return nil, err
	}
	agent, err := c.User("system:serviceaccount:kube-system:kube-vip", "system:serviceaccounts", "system:serviceaccounts:kube-system")
	if err != nil {
		return nil, err
	}
	conf, err := c.Kubeconfig(server, agent)
	if err != nil {
		return nil, err
	}
	return n, n.WriteFile(AgentConf, conf)
}

// StartAgent writes the static pod's manifest for the control plane as a user would and starts it.
func (c *Cluster) StartAgent(ctx context.Context, n *controlplane.Node) error {
	manifest, err := n.Run(ctx, append([]string{c.product.VIP, "manifest", "pod", "--controlplane", "--leaderElection", "--k8sConfigPath", AgentConf}, c.flags...)...)
	if err != nil {
		return err
	}
	c.agents[n.Name()], err = n.RunManifest(manifest, controlplane.Run{Program: c.product.VIP})
	return err
}

// StopAgent stops what StartAgent started, gracefully.
func (c *Cluster) StopAgent(ctx context.Context, n *controlplane.Node) error {
	return c.agents[n.Name()].Stop(ctx)
}

// StartFirst plays `kubeadm init`: the agent is there before anything answers, and finds its API server when that comes, at the moment returned. The flags are those of
// `vip manifest rbac`.
func (c *Cluster) StartFirst(ctx context.Context, n *controlplane.Node, flags ...string) (served time.Time, err error) {
	if err := c.StartAgent(ctx, n); err != nil {
		return served, err
	}
	if err := n.Start(ctx); err != nil {
		return served, err
	}
	served = time.Now()
	rbac, err := n.Run(ctx, append([]string{c.product.VIP, "manifest", "rbac", "--controlplane", "--services"}, flags...)...)
	if err != nil {
		return served, err
	}
	admin, err := c.Admin()
	if err != nil {
		return served, err
	}
	return served, controlplane.Apply(ctx, c.Config(n.Host, n.Addr(), admin), rbac)
}

// StartOthers starts nodes one after the other, once add has made them, and says how many there are.
func (c *Cluster) StartOthers(ctx context.Context, add func(name string) (*controlplane.Node, error), names ...string) (string, error) {
	for _, name := range names {
		n, err := add(name)
		if err != nil {
			return "", err
		}
		if err := errors.Join(n.Start(ctx), n.StartProxy(ctx), c.StartAgent(ctx, n)); err != nil {
			return "", err
		}
	}
	nodes, err := c.CountNodes(ctx)
	return fmt.Sprintf("%d nodes, each with etcd, kube-apiserver, kube-proxy and vip", nodes), err
}

// Reach asks as somebody outside would: the control plane at its address and at others that it has, and says what each answers.
func (c *Cluster) Reach(ctx context.Context, others ...netip.Addr) (string, error) {
	admin, err := c.Admin()
	if err != nil {
		return "", err
	}
	c.API = c.Config(c.client, c.addr, admin)
	if c.Kube, err = kubernetes.NewForConfig(c.API); err != nil {
		return "", err
	}
	var answers []string
	for _, addr := range append([]netip.Addr{c.addr}, others...) {
		healthz, err := Get(ctx, c.Config(c.client, addr, admin), "/healthz")
		if err != nil {
			return "", err
		}
		answers = append(answers, fmt.Sprintf("%s/healthz says %s", controlplane.Server(addr), healthz))
	}
	return strings.Join(answers, "; "), nil
}

// CountNodes is what anybody with a kubectl would do after a fault; a connection to the old holder ends with it.
func (c *Cluster) CountNodes(ctx context.Context) (int, error) {
	nodes, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("listing nodes through the control plane's address: %w", err)
	}
	return len(nodes.Items), nil
}

// Outage asks for the control plane's address while a fault happens to its holder, until another node answers.
func (c *Cluster) Outage(ctx context.Context, holder *controlplane.Node, fault func() error) (netns.Outage, error) {
	probe := netns.Probe{From: c.client, Network: "tcp", To: netip.AddrPortFrom(c.addr, echoPort)}
	return Outage(ctx, probe, fault, func(r netns.Reached) bool { return r.By != holder.Name() })
}

// ApplyCCM applies what `ccm manifest` prints.
func (c *Cluster) ApplyCCM(ctx context.Context, n *controlplane.Node, flags ...string) error {
	manifest, err := n.Run(ctx, append([]string{c.product.CCM, "manifest"}, flags...)...)
	if err != nil {
		return err
	}
	return controlplane.Apply(ctx, c.API, manifest)
}

// StartCCM runs the ccm on a node with the rights of its ServiceAccount, by the API server at an address.
func (c *Cluster) StartCCM(ctx context.Context, n *controlplane.Node, server netip.Addr, flags ...string) error {
	id, err := controlplane.ServiceAccount(ctx, c.Kube, "kube-system", ccmAccount)
	if err != nil {
		return err
	}
	conf, err := c.Kubeconfig(server, id)
	if err != nil {
		return err
	}
	const path = "/etc/kubernetes/ccm.conf"
	if err := n.WriteFile(path, conf); err != nil {
		return err
	}
	return n.Command(append([]string{c.product.CCM, "--kubeconfig=" + path}, flags...)...).Start()
}
