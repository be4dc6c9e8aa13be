package main

import (
	"net/netip"

	"daymark/internal/agent"
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

func (n *node) facts() *agent.Facts { return agent.NewFacts(nil, subnets(n.kernel.Links())) }

// promised returns what is the control plane's by configuration: by setting, and by the URL in the kubeconfig, at which it may not be asked.
func (n *node) promised() []agent.Reserved {
	var out []agent.Reserved
	if addr := Endpoint(n.cfg); addr.IsValid() {
		out = append(out, reserve(addr, "the API server's address"))
	}
	for _, a := range n.cfg.ControlPlane.Addresses {
		out = append(out, reserve(a, "the control plane's address"))
	}
	return out
}
