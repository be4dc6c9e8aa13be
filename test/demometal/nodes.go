package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/metal"
	"daymark/test/router"
	"daymark/test/stage"
)

// cloudConf is the file with the API's token.
const cloudConf = "/etc/kubernetes/metal.json"

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
	p.cluster, err = p.NewCluster(p.net.Client, controlplane.Config{Endpoint: p.eip},
		"--metal", "--provider-config", cloudConf, "--address", p.eip.String())
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

// firstNode plays `kubeadm init` and waits for the address.
func (p *play) firstNode(ctx context.Context) (string, error) {
	began := time.Now()
	n, err := p.addNode(nodeNames[0])
	if err != nil {
		return "", err
	}
	served, err := p.cluster.StartFirst(ctx, n, "--leaderElection", "--bgp", "--annotations", annotations.EquinixPrefix, "--address", p.eip.String())
	if err != nil {
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
	return p.cluster.StartOthers(ctx, p.addNode, nodeNames[1:]...)
}

// addNode makes a device a node, whose agent asks the API server on it and has the vendor's file.
func (p *play) addNode(name string) (*controlplane.Node, error) {
	host := p.Lab.Host(name)
	n, err := p.cluster.Join(host, host.Addr())
	if err != nil {
		return nil, err
	}
	cloud, err := p.net.CloudConfig(map[string]any{
		"eipTag": metal.ControlPlaneTag, "apiServerPort": controlplane.APIPort, "loadBalancer": "kube-vip://", "localASN": metal.LocalASN, "bgpPass": metal.Password,
	})
	if err != nil {
		return nil, err
	}
	return n, n.WriteFile(cloudConf, cloud)
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
	return p.cluster.Reach(ctx)
}

// stopHolder stops the agent that holds the control plane's address, gracefully, and starts it again afterwards.
func (p *play) stopHolder(ctx context.Context) (string, error) {
	before, err := p.assigned(ctx, nil)
	if err != nil {
		return "", err
	}
	out, err := p.cluster.Outage(ctx, before, func() error { return p.cluster.StopAgent(ctx, before) })
	if err != nil {
		return "", err
	}
	after, err := p.assigned(ctx, before)
	if err != nil {
		return "", err
	}
	if _, err := p.cluster.CountNodes(ctx); err != nil {
		return "", err
	}
	p.Row("the holder's agent stopped, client unanswered for", stage.Millis(out.Longest))
	return fmt.Sprintf("the API assigned %s to %s instead of %s; the client was unanswered for %s (%d questions lost of %d)",
		p.eip, after.Name(), before.Name(), stage.Millis(out.Longest), out.Lost, out.Lost+out.Answered), p.cluster.StartAgent(ctx, before)
}
