package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"daymark/test/controlplane"
	"daymark/test/stage"
)

// firstNode plays `kubeadm init` and waits for the VIP.
func (p *play) firstNode(ctx context.Context) (string, error) {
	began := time.Now()
	n, err := p.addNode("node-1")
	if err != nil {
		return "", err
	}
	served, err := p.cluster.StartFirst(ctx, n, "--arp", "--servicesElection", "--address", joinAddrs(p.vips()))
	if err != nil {
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
	return p.cluster.StartOthers(ctx, p.addNode, "node-2", "node-3")
}

// addNode adds a host and makes it a node, whose agent asks through the VIP.
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
	return p.cluster.Join(host, p.vip)
}

// readThroughVIP asks as somebody outside the cluster would.
func (p *play) readThroughVIP(ctx context.Context) (string, error) {
	answers, err := p.cluster.Reach(ctx, p.vip6)
	if err != nil {
		return "", err
	}
	nodes, err := p.cluster.CountNodes(ctx)
	return fmt.Sprintf("%s; nodes: %d", answers, nodes), err
}

// vips are the addresses of the control plane.
func (p *play) vips() []netip.Addr { return []netip.Addr{p.vip, p.vip6} }
