package main

import (
	"net/netip"
	"time"

	"daymark/internal/bgp"
)

func arpSettings() []setting {
	const group = "ARP and NDP"
	return []setting{
		{group: group, env: env("vip_arp"), flag: "arp", file: env("enableARP"), def: "false",
			help:    "announce by ARP and NDP",
			binding: bind(boolean(), func(c *Config) *bool { return &c.switches.arp })},
		{group: group, env: env("vip_arpRate"), file: env("arpBroadcastRate"), def: "3000",
			help:    "milliseconds between two announcements of a held address; at least 500",
			binding: bind(milliseconds(500, 3600000), func(c *Config) *time.Duration { return &c.ARP.Refresh })},
		{group: group, env: env("vip_skipdad"), def: "false", state: stateOld,
			help: "the kernel's detection is never waited for: a new address is probed for instead"},
	}
}

func bgpSettings() []setting {
	const group = "BGP"
	speaker := func(c *Config) *bgp.Config { return &c.BGP.Speaker }
	asn := func() kind[uint32] { return number[uint32](1, 1<<32-2) } // 0 and the last are reserved: RFC 7607, RFC 7300
	return []setting{
		{group: group, env: env("bgp_enable"), flag: "bgp", file: env("enableBGP"), def: "false",
			help:    "announce by BGP",
			binding: bind(boolean(), func(c *Config) *bool { return &c.switches.bgp })},
		{group: group, env: env("bgp_routerid"), flag: "bgpRouterID", file: env("bgpConfig.routerID"), auto: "source address, else the node's",
			help:    "router ID, an IPv4 address",
			binding: bind(ipv4(), func(c *Config) *netip.Addr { return &speaker(c).RouterID })},
		{group: group, env: env("bgp_routerinterface"),
			help:    "link whose address is the router ID",
			binding: bind(link(), func(c *Config) *string { return &speaker(c).RouterLink })},
		{group: group, env: env("bgp_as"), flag: "localAS", file: env("bgpConfig.as"), def: "65000",
			help:    "local AS number",
			binding: bind(asn(), func(c *Config) *uint32 { return &speaker(c).ASN })},
		{group: group, env: env("bgp_sourceip"), flag: "sourceIP", file: env("bgpConfig.sourceIP"),
			help:    "source address of sessions; not together with bgp_sourceif",
			binding: bind(anyAddress(), func(c *Config) *netip.Addr { return &speaker(c).Source })},
		{group: group, env: env("bgp_sourceif"), flag: "sourceIF", file: env("bgpConfig.sourceIF"),
			help:    "link whose address is the source of sessions; not together with bgp_sourceip",
			binding: bind(link(), func(c *Config) *string { return &speaker(c).SourceLink })},
		{group: group, env: env("bgp_hold_time"), flag: "bgpHoldTimer", file: env("bgpConfig.holdTime"), def: "30",
			help:    "hold time in seconds; at least 3",
			binding: bind(seconds(3, 65535), func(c *Config) *time.Duration { return &speaker(c).HoldTime })}, // RFC 4271, 4.2
		{group: group, env: env("bgp_keepalive_interval"), flag: "bgpKeepAliveInterval", file: env("bgpConfig.keepaliveInterval"), def: "10",
			help:    "seconds between keepalives",
			binding: bind(seconds(1, 21845), func(c *Config) *time.Duration { return &speaker(c).Keepalive })},
		{group: group, env: env("bgp_peers"), flag: "bgppeers", file: env("bgpConfig.peers"), secret: true,
			show:    func(c *Config) string { return withoutPasswords(c.BGP.Speaker.Peers) },
			help:    "comma list of address:AS:password:multihop:port:mpbgp:bfd:options",
			binding: bind(peers(), func(c *Config) *[]bgp.Peer { return &speaker(c).Peers })},
		{group: group, env: env("bgp_peeraddress"), flag: "peerAddress", file: env("bgpPeerConfig.address"),
			help:    "address of one more peer",
			binding: bind(anyAddress(), func(c *Config) *netip.Addr { return &c.BGP.peer.Addr })},
		{group: group, env: env("bgp_peeras"), flag: "peerAS", file: env("bgpPeerConfig.as"), def: "65000",
			help:    "its AS number",
			binding: bind(asn(), func(c *Config) *uint32 { return &c.BGP.peer.ASN })},
		{group: group, env: env("bgp_peerpass"), flag: "peerPass", file: env("bgpPeerConfig.password"), secret: true,
			help:    "its password (TCP MD5); prefer bgp_peerpass_file",
			binding: bind(textOf[bgp.Secret](), func(c *Config) *bgp.Secret { return &c.BGP.peer.Password })},
		{group: group, env: env("bgp_peerpass_file"), flag: "peerPassFile",
			help:    "file with its password",
			binding: bind(text(), func(c *Config) *string { return &c.BGP.peer.PasswordFile })},
		{group: group, env: env("bgp_multihop"), flag: "multihop", file: env("bgpPeerConfig.multiHop"), def: "false",
			help:    "the peer is more than one hop away",
			binding: bind(boolean(), func(c *Config) *bool { return &c.BGP.multihop })},
		{group: group, env: env("bgp_attach_ip_to_interface"), flag: "bgpAttachIPToInterface", def: "false",
			help:    "put VIPs of Services on the link too",
			binding: bind(boolean(), func(c *Config) *bool { return &c.BGP.AttachToLink })},
		{group: group, env: env("mpbgp_nexthop"), file: env("bgpConfig.mpbgpNexthop"),
			help:    "how next hops of both families are chosen",
			binding: bind(nextHopMode(), func(c *Config) *bgp.NextHopMode { return &speaker(c).NextHop.Mode })},
		{group: group, env: env("mpbgp_ipv4"), file: env("bgpConfig.mpbgpIPv4"),
			help:    "IPv4 next hop with mpbgp_nexthop fixed",
			binding: bind(ipv4(), func(c *Config) *netip.Addr { return &speaker(c).NextHop.IPv4 })},
		{group: group, env: env("mpbgp_ipv6"), file: env("bgpConfig.mpbgpIPv6"),
			help:    "IPv6 next hop with mpbgp_nexthop fixed",
			binding: bind(ipv6(), func(c *Config) *netip.Addr { return &speaker(c).NextHop.IPv6 })},
		{group: group, env: env("bgp_communities"), flag: "bgpCommunities",
			help: "comma list of communities (AS:value, or a well-known name) on every path",
			binding: bind(communities(),
				func(c *Config) *[]uint32 { return &speaker(c).Communities })},
		{group: group, env: env("bgp_large_communities"), flag: "bgpLargeCommunities",
			help: "comma list of large communities (AS:value:value) on every path",
			binding: bind(largeCommunities(),
				func(c *Config) *[][3]uint32 { return &speaker(c).LargeCommunities })},
		{group: group, env: env("bgp_local_pref"), flag: "bgpLocalPref",
			help:    "LOCAL_PREF for internal peers",
			binding: bind(metric(), func(c *Config) **uint32 { return &speaker(c).LocalPref })},
		{group: group, env: env("bgp_med"), flag: "bgpMED",
			help:    "MULTI_EXIT_DISC",
			binding: bind(metric(), func(c *Config) **uint32 { return &speaker(c).MED })},
		{group: group, env: env("bgp_graceful_restart"), flag: "bgpGracefulRestart", def: "0",
			help:    "seconds for which peers keep our paths while the agent is replaced; 0 is off",
			binding: bind(seconds(0, 4095), func(c *Config) *time.Duration { return &speaker(c).GracefulRestart })}, // 12 bits: RFC 4724, 3
		{group: group, env: env("bgp_drain_delay"), flag: "bgpDrainDelay", def: "1",
			help:    "seconds between marking paths with GRACEFUL_SHUTDOWN and withdrawing them on drain and stop",
			binding: bind(seconds(0, 60), func(c *Config) *time.Duration { return &speaker(c).Drain })},
		{group: group, env: env("bgp_ttl_security"), flag: "bgpTTLSecurity", def: "0",
			help:    "most hops to a peer that isn't multihop (GTSM), 1 for one on a link; 0 is off",
			binding: bind(number[uint8](0, 254), func(c *Config) *uint8 { return &c.BGP.ttlSecurity })},
		{group: group, env: env("zebra_enable"), flag: "zebra", file: env("bgpConfig.zebra.enabled"), def: "false", state: stateLater},
		{group: group, env: env("zebra_url"), flag: "zebraUrl", file: env("bgpConfig.zebra.url"), state: stateLater},
		{group: group, env: env("zebra_version"), flag: "zebraVersion", file: env("bgpConfig.zebra.version"), state: stateLater},
		{group: group, env: env("zebra_software_name"), flag: "zebraSoftwareName", file: env("bgpConfig.zebra.softwareName"), state: stateLater},
	}
}

func routingTableSettings() []setting {
	const group = "Routing table and WireGuard"
	table := func(c *Config) *RoutingTable { return &c.RoutingTable }
	return []setting{
		{group: group, env: env("vip_routingtable"), flag: "table", file: env("enableRoutingTable"), def: "false",
			help:    "announce by routes in a table of the node's",
			binding: bind(boolean(), func(c *Config) *bool { return &c.switches.routingTable })},
		{group: group, env: env("vip_routingtableid"), flag: "tableID", file: env("routingTableID"), def: "198",
			help:    "number of the table",
			binding: bind(number[uint32](1, 1<<32-1), func(c *Config) *uint32 { return &table(c).ID })},
		{group: group, env: env("vip_routingtabletype"), flag: "tableType", file: env("routingTableType"), def: "1",
			help:    "type of the routes, by rtnetlink's number: 1 unicast, 2 local",
			binding: bind(number[uint8](1, 11), func(c *Config) *uint8 { return &table(c).Type })},
		{group: group, env: env("vip_routingprotocol"), flag: "routingProtocol", def: "248",
			help:    "protocol that marks the routes as ours",
			binding: bind(number[uint8](5, 255), func(c *Config) *uint8 { return &table(c).Protocol })}, // below are the kernel's own
		{group: group, env: env("vip_cleanroutingtable"), flag: "cleanRoutingTable", def: "false",
			help:    "at start remove routes of ours that aren't wanted",
			binding: bind(boolean(), func(c *Config) *bool { return &table(c).Clean })},
		{group: group, env: env("vip_wireguard"), flag: "wireguard", file: env("enableWireguard"), def: "false",
			help:    "announce by WireGuard tunnels, from Secret wireguard",
			binding: bind(boolean(), func(c *Config) *bool { return &c.switches.wireGuard })},
	}
}

func metalSettings() []setting {
	const group = "Equinix Metal"
	metal := func(c *Config) *Metal { return &c.Metal }
	return []setting{
		{group: group, env: env("vip_packet"), flag: "metal", file: env("enableMetal"), def: "false",
			help:    "use Equinix Metal's API, or a private copy of it: to assign the control plane's address to its holder, or with bgp_enable to learn the BGP peers; addresses go on `lo` unless vip_interface says otherwise",
			binding: bind(boolean(), func(c *Config) *bool { return &metal(c).Enabled })},
		{group: group, env: env("PACKET_AUTH_TOKEN", "METAL_AUTH_TOKEN"), flag: "metalKey", secret: true,
			help:    "token for the API; better in the file of provider_config",
			binding: bind(text(), func(c *Config) *string { return &metal(c).Key })},
		{group: group, env: env("vip_packetproject"), flag: "metalProject",
			help:    "name of the project",
			binding: bind(text(), func(c *Config) *string { return &metal(c).Project })},
		{group: group, env: env("vip_packetprojectid"), flag: "metalProjectID",
			help:    "ID of the project",
			binding: bind(text(), func(c *Config) *string { return &metal(c).ProjectID })},
		{group: group, env: env("provider_config"), flag: "provider-config",
			help:    "configuration file of the cloud-controller-manager, read for the API's URL, token and project; the settings above are stronger",
			binding: bind(text(), func(c *Config) *string { return &metal(c).ConfigFile })},
	}
}
