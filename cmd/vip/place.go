package main

import (
	"net/netip"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/vip"
)

// placeControlPlane returns where an address of the control plane goes.
func (n *node) placeControlPlane(addr netip.Addr) vip.Address {
	link, bits := n.cfg.Links.ControlPlane, n.cfg.Links.Subnet.Bits(addr)
	if bits == AutoBits {
		bits = n.facts().BitsOn(link, addr)
	}
	return vip.Address{Prefix: netip.PrefixFrom(addr, bits), Link: link}
}

func (n *node) facts() *agent.Facts { return agent.NewFacts(nil, n.subnets()) }

// subnets returns the networks that this node's links are in.
func (n *node) subnets() []agent.Subnet {
	var out []agent.Subnet
	for _, l := range n.kernel.Links() {
		if l.Loopback {
			continue
		}
		for _, p := range l.Own {
			out = append(out, agent.Subnet{Link: l.Name, Prefix: p})
		}
	}
	return out
}

// reserved returns what no Service may have, beside what the API server tells.
func (n *node) reserved() []agent.Reserved {
	var out []agent.Reserved
	for _, a := range n.cfg.ControlPlane.Addresses {
		out = append(out, agent.Reserved{Prefix: netip.PrefixFrom(a, a.BitLen()), What: "the control plane's address"})
	}
	defaults, err := datapath.Defaults()
	if err != nil {
		n.log.Debug("no gateway to keep clear of", "err", err)
	}
	for _, d := range defaults {
		if d.Gateway.IsValid() {
			out = append(out, agent.Reserved{Prefix: netip.PrefixFrom(d.Gateway, d.Gateway.BitLen()), What: "the default gateway on " + d.Link})
		}
	}
	for _, l := range n.kernel.Links() {
		for _, p := range l.Own {
			out = append(out, agent.Reserved{
				Prefix: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), What: "an address of node " + n.cfg.Node.Name + " itself",
			})
		}
	}
	return out
}
