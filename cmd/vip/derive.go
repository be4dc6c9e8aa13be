package main

import (
	"os"
	"strings"

	"daymark/internal/bgp"
)

// serviceAccountNamespace is where Kubernetes tells a pod its namespace.
const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// ThisHost returns the machine that the program runs on. Links are not checked unless LinkUp is filled in.
func ThisHost() Host { return Host{Name: os.Hostname, ReadFile: os.ReadFile} }

// fallback returns the text of the default of s, which may depend on the host.
func (l *loader) fallback(s setting) string {
	switch s.key() {
	case "vip_nodename":
		if len(l.given[s.key()]) > 0 {
			return ""
		}
		host, err := l.src.Host.Name()
		if err != nil {
			l.bad[s.key()] = true
			l.fail("vip_nodename is not set, and finding the host name: %w", err)
		}
		return strings.ToLower(host)
	case "cp_namespace":
		if data, err := l.src.Host.ReadFile(serviceAccountNamespace); err == nil && len(data) > 0 {
			return strings.TrimSpace(string(data))
		}
		return "kube-system"
	}
	return s.def
}

// finish fills in what follows from several settings.
func (l *loader) finish() {
	c := &l.out.Config
	c.Mode = soleMode(modes(*c))
	if c.Election.Lease.Namespace == "" {
		c.Election.Lease.Namespace = c.Kubernetes.Namespace
	}
	if c.Services.Lease.Namespace == "" {
		c.Services.Lease.Namespace = c.Kubernetes.Namespace
	}
	switch {
	case c.switches.servicesElection:
		c.Services.Spread = SpreadAll
	case c.switches.forceElectionOnDemand:
		c.Services.Spread = SpreadOnDemand
	}
	if !c.Election.giveUp {
		c.Election.GiveUpAfter = 0
	}
	if c.Metal.Enabled && c.Links.ControlPlane == "" {
		c.Links.ControlPlane = "lo" // no link of the node is in the address's network
	}
	if c.Links.Services == "" {
		c.Links.Services = c.Links.ControlPlane
	}
	c.BGP.finish()
	l.noticeMetal()
	l.noticeOnDemand()
}

// noticeMetal warns of what works and may surprise.
func (l *loader) noticeMetal() {
	c := l.out.Config
	if c.Metal.Enabled && c.BGP.Annotations != "" && c.Mode == ModeBGP {
		l.notice("vip_packet", "BGP peers come from the Node's annotations, not from the API", "unset annotation to ask the API")
	}
}

// noticeOnDemand tells that nothing is spread where every node announces everything.
func (l *loader) noticeOnDemand() {
	c := l.out.Config
	if routed := c.Mode == ModeBGP || c.Mode == ModeRoutingTable; routed && c.Services.Spread == SpreadOnDemand && !c.Election.Enabled {
		l.notice("per_service_election_on_demand", "has no effect: without an election every node announces every Service", "set vip_leaderelection, or svc_election")
	}
}

// finish makes the Speaker complete: the peer of the settings bgp_peer* comes behind those of bgp_peers.
func (b *BGP) finish() {
	if b.peer.Addr.IsValid() {
		p := b.peer
		if b.multihop {
			p.MultihopTTL = bgp.DefaultMultihopTTL
		}
		b.Speaker.Peers = append(b.Speaker.Peers, p)
	}
	for i := range b.Speaker.Peers {
		if p := &b.Speaker.Peers[i]; p.MultihopTTL == 0 && p.TTLSecurity == 0 {
			p.TTLSecurity = b.ttlSecurity
		}
	}
}

// modes returns the modes that are switched on, in a fixed order.
func modes(c Config) []Mode {
	var on []Mode
	for _, m := range []struct {
		on   bool
		mode Mode
	}{
		{c.switches.arp, ModeARP}, {c.switches.bgp, ModeBGP}, {c.switches.routingTable, ModeRoutingTable},
		{c.switches.wireGuard, ModeWireGuard},
	} {
		if m.on {
			on = append(on, m.mode)
		}
	}
	if c.Metal.Enabled && len(on) == 0 {
		on = append(on, ModeMetal)
	}
	return on
}

func soleMode(on []Mode) Mode {
	if len(on) != 1 {
		return ModeNone
	}
	return on[0]
}
