package main

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"daymark/internal/bgp"
	"daymark/internal/election"
)

// Config is everything that the agent was told, parsed and checked: the sum of what its subjects need. The zero Config is
// not useful; [Load] makes one. Nothing changes it afterwards.
type Config struct {
	Mode         Mode
	Log          Log
	Node         Node
	Kubernetes   Kubernetes
	HTTP         HTTP
	Links        Links
	ControlPlane ControlPlane
	Election     Election
	Services     Services
	ARP          ARP
	BGP          BGP
	RoutingTable RoutingTable
	Metal        Metal
	Balancer     Balancer
	DNS          DNS

	switches switches
}

// Instance returns the name that marks what this agent has in the kernel: its tasks and the configured name. Two agents on one
// node, one for the control plane and one for Services, thus leave each other's addresses alone.
func (c Config) Instance() string {
	var parts []string
	if c.ControlPlane.Enabled {
		parts = append(parts, "control-plane")
	}
	if c.Services.Enabled {
		parts = append(parts, "services")
	}
	if c.Node.Instance != "" {
		parts = append(parts, c.Node.Instance)
	}
	return strings.Join(parts, " ")
}

// Mode is how addresses are announced: exactly one for the whole agent.
type Mode int

// The modes. [ModeNone] never leaves [Load] without an error.
const (
	ModeNone         Mode = iota
	ModeARP               // ARP and NDP on the local link
	ModeBGP               // BGP, also with peers from Equinix Metal's API (Config.Metal.Enabled)
	ModeRoutingTable      // routes in a table of the node's
	ModeWireGuard         // WireGuard tunnels
	ModeMetal             // Equinix Metal's API moves the address; no BGP
)

// String returns the name that the mode's documentation uses.
func (m Mode) String() string {
	switch m {
	case ModeARP:
		return "ARP"
	case ModeBGP:
		return "BGP"
	case ModeRoutingTable:
		return "routing table"
	case ModeWireGuard:
		return "WireGuard"
	case ModeMetal:
		return "Equinix Metal"
	}
	return "none"
}

// switches are the booleans of the modes as they were set; only [Config.Mode] is asked afterwards.
type switches struct {
	arp, bgp, routingTable, wireGuard       bool
	servicesElection, forceElectionOnDemand bool
}

// Log says what is logged.
type Log struct {
	// Level is the lowest level that is logged.
	Level slog.Level
}

// Node is who this agent is.
type Node struct {
	// Name is the name of the Node object and the identity in leases.
	Name string
	// Instance tells two agents with the same tasks on one host apart; often empty. See [Config.Instance].
	Instance string
}

// Kubernetes says how the API server is reached.
type Kubernetes struct {
	// File is the kubeconfig; when empty, [DefaultKubeconfig] is tried, then the pod's service account.
	File string
	// Address replaces the URL in the kubeconfig.
	Address string
	// InCluster means the pod's service account and nothing else.
	InCluster bool
	// Detect means that a working address is looked for among the IP addresses in the local API server's certificate.
	Detect bool
	// Namespace is where the leases and Secrets of the agent are.
	Namespace string
}

// HTTP says where the agent listens.
type HTTP struct {
	// Metrics is the listen address for /metrics, /livez, /readyz and /vips; empty is off.
	Metrics string
	// HealthPort is a further port for /healthz, /livez and /readyz; 0 is off.
	HealthPort uint16
}

// AutoLink as the name of a link means the link whose subnet holds the address.
const AutoLink = "auto"

// Links says on which links addresses are put, and how.
type Links struct {
	// ControlPlane is the link for the control plane's address; empty means the link of the default route.
	ControlPlane string
	// Services is the link for Services: a name, [AutoLink], or empty for that of the control plane.
	Services string
	// AllowDown lets the agent start while the link is down.
	AllowDown bool
	// GlobalScopeOnLoopback gives addresses on lo scope global instead of host.
	GlobalScopeOnLoopback bool
	// Subnet is the prefix lengths of the addresses.
	Subnet Subnet
}

// AutoBits as a prefix length means that of the link's own address whose subnet holds the VIP.
const AutoBits = -1

// Subnet is a prefix length for each family, or [AutoBits].
type Subnet struct{ V4, V6 int }

// Bits returns the prefix length for addr's family.
func (s Subnet) Bits(addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return s.V4
	}
	return s.V6
}

// ControlPlane is the address of the API servers.
type ControlPlane struct {
	Enabled bool
	// Addresses are the VIPs, in the order given. Empty when Host is set.
	Addresses []netip.Addr
	// Host is the DNS name whose addresses are the VIPs.
	Host string
	// Port is where the API server listens, on the VIP as on the node itself.
	Port uint16
	// Health is the check that must pass for the VIP to be held.
	Health HealthCheck
}

// HealthCheck asks a URL; status 200 is healthy.
type HealthCheck struct {
	URL      string // empty is off
	Period   time.Duration
	Timeout  time.Duration
	Failures int // so many in a row are unhealthy
	CAFile   string
}

// LeaseRef names a Lease.
type LeaseRef struct{ Namespace, Name string }

// String returns "namespace/name".
func (l LeaseRef) String() string { return l.Namespace + "/" + l.Name }

// Election says who holds, and for how long without renewal.
type Election struct {
	// Enabled asks for an election where the mode could do without. With ARP the control plane always elects.
	Enabled bool
	// Lease is that of the control plane.
	Lease LeaseRef
	// Timing is valid.
	Timing election.Timing
	// Annotations are put on the control plane's lease.
	Annotations map[string]string
	// PreserveAddress keeps an address on the link when leadership is lost, unannounced, until another host is heard to use it.
	PreserveAddress bool
	// GiveUpAfter is how long the link may be down until this node gives up what it holds; 0 means that it doesn't.
	GiveUpAfter time.Duration

	giveUp bool
}

// Spread says how Services are given to nodes where there is an election.
type Spread int

// The ways to spread.
const (
	SpreadNone     Spread = iota // one node holds all Services
	SpreadAll                    // every Service's addresses are elected by themselves
	SpreadOnDemand               // only those of Services annotated forcePerServiceElection
)

// Services says which Services are served.
type Services struct {
	Enabled bool
	// Namespace is the only one that is served; empty means all.
	Namespace string
	// Spread says how they are given to nodes.
	Spread Spread
	// Lease is the one lease for all of them with [SpreadNone].
	Lease LeaseRef
	// Class says which load balancer classes are ours.
	Class Class
	// LabelNodes puts labels for what is held on the Node.
	LabelNodes bool
	// LeaveStatus means that status.loadBalancer isn't written.
	LeaveStatus bool
	// AllowedCIDRs are what Services may have; empty means everything that isn't refused anyhow.
	AllowedCIDRs []netip.Prefix
	// PortMapping opens the ports on the gateway by UPnP, for Services annotated so.
	PortMapping bool
}

// Class is which values of spec.loadBalancerClass are served.
type Class struct {
	// Name is our class.
	Name string
	// Only ignores Services without a class.
	Only bool
	// Legacy serves both our class and none; otherwise the class must equal Name exactly, and an empty Name serves all.
	Legacy bool
}

// ARP is for [ModeARP].
type ARP struct {
	// Refresh is the period in which held addresses are announced again.
	Refresh time.Duration
}

// BGP is for [ModeBGP].
type BGP struct {
	// Speaker is complete, with every peer, unless Annotations is set.
	Speaker bgp.Config
	// Annotations is the prefix of the Node's annotations that carry ASN, source and peers; when set, BGP waits for them.
	Annotations string
	// AttachToLink puts the addresses of Services on the link too.
	AttachToLink bool

	peer        bgp.Peer // that of the settings bgp_peer*
	multihop    bool
	ttlSecurity uint8 // of peers that say nothing of it
}

// RoutingTable is for [ModeRoutingTable].
type RoutingTable struct {
	ID       uint32 // of the table
	Type     uint8  // RTN_* of rtnetlink(7)
	Protocol uint8  // rtm_protocol of rtnetlink(7)
	Clean    bool   // at start, remove routes of ours that aren't wanted
}

// Metal is Equinix Metal's API.
type Metal struct {
	Enabled    bool
	Key        string // the token; secret
	Project    string // name
	ProjectID  string
	ConfigFile string // that of the CCM
}

// Balancer spreads connections to the VIP over all API servers.
type Balancer struct {
	Enabled bool
	Port    uint16
	Forward string // local, masquerade, tunnel, directroute or bypass
	Check   time.Duration
}

// DNS says how names become addresses.
type DNS struct {
	DHCP         bool   // vip_ddns: the address is got by DHCP, with the host name
	Mode         string // first, ipv4, ipv6 or dual
	DHCPMode     string // ipv4, ipv6 or dual; empty means that it follows Mode
	DHCPAttempts int    // 0 is no limit
}

// leaseRef reads "name" or "namespace/name".
func leaseRef(text, namespace string) LeaseRef {
	if ns, name, ok := strings.Cut(text, "/"); ok {
		return LeaseRef{ns, name}
	}
	return LeaseRef{namespace, text}
}
