package main

import (
	"context"
	"net/netip"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/stage"
)

// play is one run of the demo. It belongs to one goroutine.
type play struct {
	*stage.Stage

	lan     *netns.LAN
	client  *netns.Host
	cluster *stage.Cluster
	vip     netip.Addr
	vip6    netip.Addr // the same in IPv6
}

// run plays every step; a step that fails ends the play.
func (p *play) run(ctx context.Context, hold bool) error {
	if err := p.prepare(); err != nil {
		return err
	}
	if err := p.Play(ctx,
		stage.Step{Name: "first node: agent as a static pod, then etcd and the API server", Play: p.firstNode},
		stage.Step{Name: "the control plane through the VIP", Play: p.readThroughVIP},
		stage.Step{Name: "two more control-plane nodes join", Play: p.otherNodes},
		stage.Step{Name: "the cloud-controller-manager and its pools", Play: p.startCCM},
		stage.Step{Name: "Services get addresses and answer", Play: p.services},
		stage.Step{Name: "the holder of the control plane's VIP stops (SIGTERM)", Play: p.stopHolder},
		stage.Step{Name: "a Service's holder loses its cable", Play: p.cutHolder},
		stage.Step{Name: "a Service is deleted", Play: p.deleteService},
	); err != nil {
		return err
	}
	if hold {
		p.Begin("holding")
		return p.hold(ctx)
	}
	return nil
}

// prepare lays out the LAN: a router, a client, and the hosts of three nodes.
func (p *play) prepare() error {
	var err error
	if p.lan, err = p.Lab.AddLAN("lan"); err != nil {
		return err
	}
	router, err := p.Lab.AddHost("router", p.lan)
	if err != nil {
		return err
	}
	if err := router.Forward(); err != nil {
		return err
	}
	if p.client, err = p.Lab.AddHost("client", p.lan); err != nil {
		return err
	}
	p.vip, p.vip6 = p.lan.Addr(100), p.lan.Addr6(100)
	p.cluster, err = p.NewCluster(p.client, controlplane.Config{Endpoint: p.vip, Names: []string{"127.0.0.1", p.vip6.String()}},
		"--arp", "--services", "--servicesElection", "--interface", "eth0", "--address", joinAddrs(p.vips()))
	return err
}
