package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/controlplane"
	"daymark/test/stage"
)

// agentConf is the agents' kubeconfig on a node: the identity of their ServiceAccount, with exactly the generated rights.
const agentConf = "/etc/kubernetes/kube-vip.conf"

// echoPort is where each node answers with its own name, so that a client sees who is behind the VIP.
const echoPort = 7

// firstNode plays `kubeadm init`: the agent is there before anything answers, and finds its API server when that comes.
func (p *play) firstNode(ctx context.Context) (string, error) {
	began := time.Now()
	n, err := p.addNode("node-1")
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
	rbac, err := n.Run(ctx, p.Product.VIP, "manifest", "rbac", "--controlplane", "--arp", "--services", "--servicesElection", "--address", joinAddrs(p.vips()))
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
	if err := errors.Join(n.WaitAddr(ctx, p.vip), n.WaitAddr(ctx, p.vip6)); err != nil {
		return "", err
	}
	p.Row("API server up, then the VIP after", stage.Seconds(time.Since(served)))
	return fmt.Sprintf("%s are on node-1, %s after the agent started and %s after the API server was ready",
		joinAddrs(p.vips()), stage.Seconds(time.Since(began)), stage.Seconds(time.Since(served))), n.StartProxy(ctx)
}

func (p *play) otherNodes(ctx context.Context) (string, error) {
	for _, name := range []string{"node-2", "node-3"} {
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

// addNode adds a host with the files that kubeadm makes, and the agents' kubeconfig beside them.
func (p *play) addNode(name string) (*controlplane.Node, error) {
	host, err := p.Lab.AddHost(name, p.lan)
	if err != nil {
		return nil, err
	}
	router := p.Lab.Host("router")
	if err := errors.Join(
		host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), router.Addr()), host.AddRoute(netip.MustParsePrefix("::/0"), router.Addr6()),
	); err != nil {
		return nil, err
	}
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
	conf, err := p.cluster.Kubeconfig(p.vip, agent)
	if err != nil {
		return nil, err
	}
	return n, n.WriteFile(agentConf, conf)
}

// startAgent writes the static pod's manifest as a user would and starts it.
func (p *play) startAgent(ctx context.Context, n *controlplane.Node) error {
	manifest, err := n.Run(ctx, p.Product.VIP, "manifest", "pod", "--controlplane", "--arp", "--leaderElection", "--services", "--servicesElection",
		"--interface", "eth0", "--address", joinAddrs(p.vips()), "--k8sConfigPath", agentConf)
	if err != nil {
		return err
	}
	p.agents[n.Name()], err = n.RunManifest(manifest, controlplane.Run{Program: p.Product.VIP})
	return err
}

// readThroughVIP asks as somebody outside the cluster would.
func (p *play) readThroughVIP(ctx context.Context) (string, error) {
	admin, err := p.cluster.Admin()
	if err != nil {
		return "", err
	}
	p.admin = p.cluster.Config(p.client, p.vip, admin)
	if p.kube, err = kubernetes.NewForConfig(p.admin); err != nil {
		return "", err
	}
	var answers []string
	for _, addr := range p.vips() {
		healthz, err := stage.Get(ctx, p.cluster.Config(p.client, addr, admin), "/healthz")
		if err != nil {
			return "", err
		}
		answers = append(answers, fmt.Sprintf("https://%s/healthz says %s", netip.AddrPortFrom(addr, controlplane.APIPort), healthz))
	}
	nodes, err := p.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; nodes: %d", strings.Join(answers, "; "), len(nodes.Items)), nil
}

// vips are the addresses of the control plane.
func (p *play) vips() []netip.Addr { return []netip.Addr{p.vip, p.vip6} }
