package main

import (
	"fmt"
	"slices"
	"strings"

	"daymark/internal/bgp"
)

// validate reports what is wrong with settings that could be read: alone against the host, and in each other's company.
func (l *loader) validate() {
	l.checkMissing()
	l.checkModes()
	l.checkControlPlane()
	l.checkLeases()
	l.checkBGP()
	l.checkMetal()
	l.checkLinks()
}

// reject reports that keys together are wrong, each with its value and source, unless one of them couldn't be read, which
// was reported already.
func (l *loader) reject(problem string, keys ...string) {
	shown := make([]string, len(keys))
	for i, key := range keys {
		if l.bad[key] {
			return
		}
		v := l.value(key)
		shown[i] = fmt.Sprintf("%s=%q (%s)", key, v.Text, v.Source)
	}
	l.fail("%s: %s", strings.Join(shown, ", "), problem)
}

// value returns the effective value of key.
func (l *loader) value(key string) Value {
	for _, v := range l.out.Values {
		if v.Key == key {
			return v
		}
	}
	panic("no setting is called " + key)
}

// gap is something that this version can't do yet.
type gap struct {
	key    string
	used   bool     // whether a configuration asks for it
	remedy string   // what to do instead
	part   string   // the values of key that are missing; "" for all but the default
	with   []string // settings that have no effect without it
}

// missing returns what this version can't do. A line goes when its room is built.
func missing(c Config) []gap {
	return []gap{
		{key: "vip_wireguard", used: c.switches.wireGuard, remedy: "use vip_arp, bgp_enable or vip_routingtable"},
		{key: "lb_enable", used: c.Balancer.Enabled, remedy: "unset it; the VIP's holder answers from its own API server",
			with: []string{"lb_port", "lb_fwdmethod", "backend_health_check_interval"}},
		{key: "vip_ddns", used: c.DNS.DHCP, remedy: "give address as an IP address", with: []string{"dhcp_mode", "dhcp_backoff_attempts"}},
		{key: "address", used: c.ControlPlane.Host != "" && !c.DNS.DHCP, remedy: "give an IP address in place of a DNS name",
			part: "a DNS name is", with: []string{"dns_mode"}},
		{key: "enable_upnp", used: c.Services.PortMapping, remedy: "unset it, and map the ports on the gateway by hand"},
	}
}

// missingNote says behind the help of the setting called key that it, or a part of it, is not in this version; "" where it is.
func missingNote(key string) string {
	for _, m := range missing(Config{}) {
		switch {
		case m.key == key && m.part != "":
			return "; " + m.part + " not in this version"
		case m.key == key, slices.Contains(m.with, key):
			return "; not in this version"
		}
	}
	return ""
}

func (l *loader) checkMissing() {
	for _, m := range missing(l.out.Config) {
		if m.used {
			l.reject("not in this version; "+m.remedy, m.key)
		}
	}
}

func (l *loader) checkModes() {
	c := l.out.Config
	if !c.ControlPlane.Enabled && !c.Services.Enabled {
		l.reject("nothing to do: switch on the control plane, Services, or both", "cp_enable", "svc_enable")
	}
	keys := map[Mode]string{
		ModeARP: "vip_arp", ModeBGP: "bgp_enable", ModeRoutingTable: "vip_routingtable", ModeWireGuard: "vip_wireguard",
	}
	on := modes(c)
	switch {
	case len(on) == 0:
		l.reject("no mode: switch on exactly one of vip_arp, bgp_enable, vip_routingtable, vip_wireguard", "vip_arp", "bgp_enable")
	case len(on) > 1:
		var names []string
		for _, m := range on {
			names = append(names, keys[m])
		}
		l.reject("modes exclude each other: switch on exactly one", names...)
	}
}

// checkMetal wants to know as whom the API is asked, where no file says it, and refuses what can't work on that network.
func (l *loader) checkMetal() {
	c := l.out.Config
	if !c.Metal.Enabled {
		return
	}
	if c.switches.arp {
		l.reject("Equinix Metal has no shared link, so nobody would hear ARP: without vip_arp the API assigns the address to its holder, "+
			"and with bgp_enable it is announced by BGP", "vip_packet", "vip_arp")
		return
	}
	if c.Mode == ModeMetal && c.Services.Enabled {
		l.reject("the API is asked for the control plane's address alone; Services need bgp_enable, in this agent or in another on the node", "vip_packet", "svc_enable")
	}
	if c.Metal.ConfigFile != "" {
		return
	}
	if c.Metal.Key == "" {
		l.reject("the API needs a token: set METAL_AUTH_TOKEN, or name the file that has it", "vip_packet", "PACKET_AUTH_TOKEN", "provider_config")
	}
	if c.Metal.Project == "" && c.Metal.ProjectID == "" {
		l.reject("the API needs a project", "vip_packet", "vip_packetprojectid", "vip_packetproject", "provider_config")
	}
}

func (l *loader) checkControlPlane() {
	c := l.out.Config
	if c.ControlPlane.Enabled && len(c.ControlPlane.Addresses) == 0 && c.ControlPlane.Host == "" {
		l.reject("the control plane needs an address", "cp_enable", "address")
	}
	if h := c.ControlPlane.Health; h.URL != "" && h.Timeout > h.Period {
		l.reject("a check may not take longer than the time to the next",
			"control_plane_health_check_timeout_seconds", "control_plane_health_check_period_seconds")
	}
	if c.Kubernetes.InCluster && c.Kubernetes.File != "" {
		l.reject("exclude each other", "--inCluster", "k8s_config_file")
	}
}

// checkLeases wants time for two attempts before the deadline, and for a holder to let go before others take over.
func (l *loader) checkLeases() {
	e := l.out.Config.Election
	t := e.Timing
	if t.RenewDeadline >= t.LeaseDuration {
		l.reject("the renew deadline must be shorter than the lease, or two nodes hold one address",
			"vip_leaseduration", "vip_renewdeadline")
	}
	if t.RenewDeadline <= t.RetryPeriod+t.RetryPeriod/5 {
		l.reject("the renew deadline must be more than 1.2 times the retry period", "vip_renewdeadline", "vip_retryperiod")
	}
	if e.Lease == l.out.Config.Services.Lease && l.out.Config.ControlPlane.Enabled && l.out.Config.Services.Enabled {
		l.reject("the control plane and Services need a lease each", "vip_leasename", "svc_leasename")
	}
}

func (l *loader) checkBGP() {
	c := l.out.Config
	if c.Mode != ModeBGP {
		return
	}
	before := len(l.errs)
	b := c.BGP.Speaker
	if b.Source.IsValid() && b.SourceLink != "" {
		l.reject("exclude each other", "bgp_sourceip", "bgp_sourceif")
	}
	if b.Keepalive >= b.HoldTime {
		l.reject("the keepalive interval must be shorter than the hold time, usually a third", "bgp_hold_time", "bgp_keepalive_interval")
	}
	if len(b.Peers) == 0 && c.BGP.Annotations == "" && !c.Metal.Enabled {
		l.reject("no peer: set one of them", "bgp_peers", "bgp_peeraddress", "annotation")
	}
	if c.BGP.peer.Password != "" && c.BGP.peer.PasswordFile != "" {
		l.reject("exclude each other", "bgp_peerpass", "bgp_peerpass_file")
	}
	if b.NextHop.Mode == bgp.NextHopFixed && !b.NextHop.IPv4.IsValid() && !b.NextHop.IPv6.IsValid() {
		l.reject("fixed next hops need an address", "mpbgp_nexthop", "mpbgp_ipv4", "mpbgp_ipv6")
	}
	if err := b.Validate(); err != nil && len(l.errs) == before && len(l.bad) == 0 {
		l.fail("BGP: %w", err)
	}
}

// checkLinks wants links on which the mode works, and asks the host for each that is named.
func (l *loader) checkLinks() {
	for _, key := range []string{"vip_interface", "vip_servicesinterface"} {
		if l.out.Config.Mode == ModeARP && l.value(key).plain == "lo" {
			l.reject("nobody hears ARP and NDP on the loopback link: name the link to the network", key)
		}
	}
	if l.src.Host.LinkUp == nil {
		return
	}
	links := l.out.Config.Links
	for _, key := range []string{"vip_interface", "vip_servicesinterface", "bgp_routerinterface", "bgp_sourceif"} {
		v := l.value(key)
		if v.plain == "" || v.plain == AutoLink && key == "vip_servicesinterface" {
			continue
		}
		up, err := l.src.Host.LinkUp(v.plain)
		switch {
		case err != nil:
			l.reject(err.Error(), key)
		case !up && !links.AllowDown && (key == "vip_interface" || key == "vip_servicesinterface"):
			l.reject("the link is down; vip_allow_interface_not_up starts all the same", key)
		}
	}
}
