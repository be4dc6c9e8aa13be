package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/controlplane"
	"daymark/test/metal"
	"daymark/test/netns"
	"daymark/test/router"
	"daymark/test/stage"
)

const (
	// agentConf is the agents' kubeconfig on a node: the identity of their ServiceAccount, with exactly the generated rights.
	agentConf = "/etc/kubernetes/kube-vip.conf"
	// cloudConf is the file with the API's token.
	cloudConf = "/etc/kubernetes/metal.json"
	// echoPort is where each node answers with its own name, so that a client sees who is behind the address.
	echoPort = 7
)

var nodeNames = []string{"node-1", "node-2", "node-3"}

// vendor lays out what isn't ours, and the devices as they were delivered.
func (p *play) vendor(ctx context.Context) (string, error) {
	var err error
	if p.net, err = metal.New(p.Lab, stage.Discard()); err != nil {
		return "", err
	}
	if p.eip, err = p.net.Reserve(metal.ControlPlaneTag); err != nil {
		return "", err
	}
	p.cluster, err = controlplane.New(p.Lab, controlplane.Config{Programs: p.Set, Endpoint: p.eip})
	if err != nil {
		return "", err
	}
	var neighbours strings.Builder
	for _, name := range nodeNames {
		host, err := p.Lab.AddHost(name, p.net.LAN)
		if err != nil {
			return "", err
		}
		if _, err := p.net.AddDevice(host); err != nil {
			return "", err
		}
		fmt.Fprintf(&neighbours, " neighbor %s peer-group devices\n", host.Addr())
	}
	for i, host := range p.net.Routers {
		config := fmt.Sprintf(routerConfig, metal.PeerASN, i+1, metal.LocalASN, metal.Password, neighbours.String(), metal.Elastic)
		if p.routers[i], err = router.StartFRR(ctx, host, config); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("API at %s; %s is reserved with tag %s and assigned to nobody; the routers wait at 169.254.255.1 and .2", p.net.URL, p.eip, metal.ControlPlaneTag), nil
}

// routerConfig is that of one of the vendor's routers: it waits for its devices, more than one hop away, and believes them what the project owns. Its hold time is the
// least there is, to show what BGP can do.
const routerConfig = `ip prefix-list elastic seq 5 permit %[6]s le 32
router bgp %[1]d
 bgp router-id 169.254.255.%[2]d
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 timers bgp 1 3
 neighbor devices peer-group
 neighbor devices remote-as %[3]d
 neighbor devices password %[4]s
 neighbor devices ebgp-multihop 5
 neighbor devices update-source 169.254.255.%[2]d
 neighbor devices passive
%[5]s address-family ipv4 unicast
  neighbor devices prefix-list elastic in
  maximum-paths 8
 exit-address-family
`

// firstNode plays kubeadm init: the agent is there before anything answers, and finds its API server when that comes.
func (p *play) firstNode(ctx context.Context) (string, error) {
	began := time.Now()
	n, err := p.addNode(nodeNames[0])
	if err != nil {
		return "", err
	}
	if err := p.startAgent(ctx, n); err != nil {
		return "", err
	}
	if err := n.Start(ctx); err != nil {
		return "", err
	}
	served := time.Now()
	rbac, err := n.Run(ctx, p.Product.VIP, "manifest", "rbac", "--controlplane", "--leaderElection", "--services", "--bgp", "--annotations", "metal.equinix.com",
		"--address", p.eip.String())
	if err != nil {
		return "", err
	}
	admin, err := p.cluster.Admin()
	if err != nil {
		return "", err
	}
	if err := controlplane.Apply(ctx, p.cluster.Config(n.Host, n.Addr(), admin), rbac); err != nil {
		return "", err
	}
	if err := n.WaitAddr(ctx, p.eip); err != nil {
		return "", err
	}
	if _, err := p.assigned(ctx, nil); err != nil {
		return "", err
	}
	p.Row("API server up, then the address after", stage.Seconds(time.Since(served)))
	return fmt.Sprintf("%s is on lo of node-1 and assigned to its device, %s after the agent started", p.eip, stage.Seconds(time.Since(began))), n.StartProxy(ctx)
}

func (p *play) otherNodes(ctx context.Context) (string, error) {
	for _, name := range nodeNames[1:] {
		n, err := p.addNode(name)
		if err != nil {
			return "", err
		}
		if err := errors.Join(n.Start(ctx), n.StartProxy(ctx), p.startAgent(ctx, n)); err != nil {
			return "", err
		}
	}
	nodes, err := p.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d nodes, each with etcd, kube-apiserver, kube-proxy and vip", len(nodes.Items)), nil
}

// addNode makes a device a node, with the files that kubeadm makes, the agents' kubeconfig and the vendor's file beside them.
func (p *play) addNode(name string) (*controlplane.Node, error) {
	host := p.Lab.Host(name)
	if _, err := host.Echo("tcp", fmt.Sprintf("0.0.0.0:%d", echoPort)); err != nil {
		return nil, err
	}
	n, err := p.cluster.Add(host)
	if err != nil {
		return nil, err
	}
	agent, err := p.cluster.User("system:serviceaccount:kube-system:kube-vip", "system:serviceaccounts", "system:serviceaccounts:kube-system")
	if err != nil {
		return nil, err
	}
	conf, err := p.cluster.Kubeconfig(n.Addr(), agent)
	if err != nil {
		return nil, err
	}
	cloud, err := p.net.CloudConfig(map[string]any{
		"eipTag": metal.ControlPlaneTag, "apiServerPort": controlplane.APIPort, "loadBalancer": "kube-vip://", "localASN": metal.LocalASN, "bgpPass": metal.Password,
	})
	if err != nil {
		return nil, err
	}
	return n, errors.Join(n.WriteFile(agentConf, conf), n.WriteFile(cloudConf, cloud))
}

// startAgent writes the static pod's manifest for the control plane as a user would and starts it.
func (p *play) startAgent(ctx context.Context, n *controlplane.Node) error {
	manifest, err := n.Run(ctx, p.Product.VIP, "manifest", "pod", "--controlplane", "--metal", "--leaderElection",
		"--provider-config", cloudConf, "--address", p.eip.String(), "--k8sConfigPath", agentConf)
	if err != nil {
		return err
	}
	p.agents[n.Name()], err = n.RunManifest(manifest, controlplane.Run{Program: p.Product.VIP})
	return err
}

// assigned returns the node whose device has the address, once that is another than before.
func (p *play) assigned(ctx context.Context, before *controlplane.Node) (*controlplane.Node, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if host := p.net.Where(p.eip); host != nil && (before == nil || host.Name() != before.Name()) {
			return p.cluster.Node(host.Name()), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s to be assigned: %w", p.eip, ctx.Err())
		}
	}
}

// readThrough asks as somebody outside the vendor's network would.
func (p *play) readThrough(ctx context.Context) (string, error) {
	admin, err := p.cluster.Admin()
	if err != nil {
		return "", err
	}
	p.admin = p.cluster.Config(p.net.Client, p.eip, admin)
	if p.kube, err = kubernetes.NewForConfig(p.admin); err != nil {
		return "", err
	}
	healthz, err := stage.Get(ctx, p.admin, "/healthz")
	return fmt.Sprintf("https://%s:%d/healthz says %s", p.eip, controlplane.APIPort, healthz), err
}

// echo is the question that nodes answer with their names.
func (p *play) echo() netns.Probe {
	return netns.Probe{From: p.net.Client, Network: "tcp", To: netip.AddrPortFrom(p.eip, echoPort)}
}

// stopHolder stops the agent that holds the control plane's address, gracefully, and starts it again afterwards.
func (p *play) stopHolder(ctx context.Context) (string, error) {
	before, err := p.assigned(ctx, nil)
	if err != nil {
		return "", err
	}
	out, err := stage.Outage(ctx, p.echo(), func() error { return p.agents[before.Name()].Stop(ctx) },
		func(r netns.Reached) bool { return r.By != before.Name() })
	if err != nil {
		return "", err
	}
	after, err := p.assigned(ctx, before)
	if err != nil {
		return "", err
	}
	if err := p.readNodes(ctx); err != nil {
		return "", err
	}
	p.Row("the holder's agent stopped, client unanswered for", stage.Millis(out.Longest))
	return fmt.Sprintf("the API assigned %s to %s instead of %s; the client was unanswered for %s (%d questions lost of %d)",
		p.eip, after.Name(), before.Name(), stage.Millis(out.Longest), out.Lost, out.Lost+out.Answered), p.startAgent(ctx, before)
}

// readNodes is what anybody with a kubectl would do next; a connection to the old holder ends with it.
func (p *play) readNodes(ctx context.Context) error {
	if _, err := p.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("listing nodes through the control plane's address: %w", err)
	}
	return nil
}
