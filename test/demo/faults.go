package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/stage"
)

// holder returns the node that has the address; several are an error.
func (p *play) holder(addr netip.Addr) (*controlplane.Node, error) {
	var found *controlplane.Node
	for _, n := range p.cluster.Nodes() {
		has, err := n.Has(addr)
		if err != nil {
			return nil, err
		}
		if has && found != nil {
			return nil, fmt.Errorf("%s is on %s and on %s", addr, found.Name(), n.Name())
		}
		if has {
			found = n
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no node has %s", addr)
	}
	return found, nil
}

// stopHolder stops the agent that holds the control plane's address, gracefully, and starts it again afterwards.
func (p *play) stopHolder(ctx context.Context) (string, error) {
	before, err := p.holder(p.vip)
	if err != nil {
		return "", err
	}
	out, err := p.cluster.Outage(ctx, before, func() error { return p.cluster.StopAgent(ctx, before) })
	if err != nil {
		return "", err
	}
	after, err := p.holder(p.vip)
	if err != nil {
		return "", err
	}
	if _, err := p.holder(p.vip6); err != nil {
		return "", err
	}
	p.Row("VIP's holder stopped (SIGTERM), client unanswered for", stage.Millis(out.Longest))
	if _, err := p.cluster.CountNodes(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s went from %s to %s; the client was unanswered for %s (%d questions lost of %d)",
		joinAddrs(p.vips()), before.Name(), after.Name(), stage.Millis(out.Longest), out.Lost, out.Lost+out.Answered), p.cluster.StartAgent(ctx, before)
}

// cutHolder takes the cable out of the node that holds the Service of namespace default.
func (p *play) cutHolder(ctx context.Context) (string, error) {
	s, err := p.held(ctx, "default", "web")
	if err != nil {
		return "", err
	}
	before := p.cluster.Node(s.holder)
	if before == nil {
		return "", errors.New("no node is called " + s.holder)
	}
	addr := s.addrs[0]
	out, err := stage.Outage(ctx, netns.Probe{From: p.client, Network: "http", To: netip.AddrPortFrom(addr, 80)}, before.Cut, func(netns.Reached) bool {
		for _, n := range p.cluster.Nodes() {
			if has, err := n.Has(addr); err == nil && has && n != before {
				return true
			}
		}
		return false
	})
	if err != nil {
		return "", err
	}
	if _, err := p.cluster.CountNodes(ctx); err != nil {
		return "", err
	}
	after, err := p.holder(addr)
	if err != nil {
		return "", err
	}
	for _, a := range s.addrs {
		if err := errors.Join(before.WaitNoAddr(ctx, a), after.WaitAddr(ctx, a)); err != nil {
			return "", err
		}
	}
	p.Row("Service's holder cut off, client unanswered for", stage.Millis(out.Longest))
	return fmt.Sprintf("%s went from %s to %s; the client was unanswered for %s (%d questions lost of %d)",
		s.text(), before.Name(), after.Name(), stage.Millis(out.Longest), out.Lost, out.Lost+out.Answered), before.Mend()
}
