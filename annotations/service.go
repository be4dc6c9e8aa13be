// Package annotations is the contract of the two programs and of their users: every annotation key with its meaning, and
// the functions that parse and format the values, side by side. It imports nothing of Kubernetes: annotations are a
// map of strings.
//
// Values come from tenants and are hostile until parsed.
package annotations

// Annotations on a Service. The comment of each key is its documentation for users.
const (
	// LoadBalancerIPs is a comma list of addresses, or of host names, that the Service shall have; 0.0.0.0 or :: asks DHCP.
	// Written by the user, or else by the CCM.
	LoadBalancerIPs = "kube-vip.io/loadbalancerIPs"
	// LoadBalancerHostname is the host name to send to the DHCP server. Written by the user.
	LoadBalancerHostname = "kube-vip.io/loadbalancerHostname"
	// Ignore set to "true" means that Daymark leaves the Service alone; a Service that is held already is let go.
	Ignore = "kube-vip.io/ignore"
	// ServiceInterface is the link that holds the addresses, or "auto": the link whose subnet holds each of them.
	// Written by the user, or else by the CCM from interface-NS.
	ServiceInterface = "kube-vip.io/serviceInterface"
	// ServiceVLAN is a VLAN link such as eth0.200 for the addresses: made when missing, removed when unused.
	ServiceVLAN = "kube-vip.io/serviceVLAN"
	// HardwareAddress is the MAC address with which the DHCP lease was got. Written by the agent, kept for the next holder.
	HardwareAddress = "kube-vip.io/hwaddr"
	// RequestedIP is the comma list of addresses, one a family, to ask the DHCP server for.
	RequestedIP = "kube-vip.io/requestedIP"
	// MACVLANName names the macvlan link that DHCP uses.
	MACVLANName = "kube-vip.io/macvlanName"
	// DHCPBroadcast set to "true" asks the DHCP server to answer by broadcast.
	DHCPBroadcast = "kube-vip.io/dhcp-broadcast"
	// RPFilter is the value of the sysctl rp_filter (0, 1, 2) for the macvlan link.
	RPFilter = "kube-vip.io/rp_filter"
	// DDNS set to "true" sends the host name to the DHCP server so that it can update DNS.
	DDNS = "kube-vip.io/ddns"
	// LeaseName groups Services: those with the same name (also "namespace/name") are held by the same node.
	LeaseName = "kube-vip.io/leaseName"
	// ForcePerServiceElection set to "true" spreads this Service although svc_election is off; needs
	// per_service_election_on_demand.
	ForcePerServiceElection = "kube-vip.io/forcePerServiceElection"
	// AllowReconcileWithoutEndpoints set to "true" announces the Service also while it has no endpoint; for
	// externalTrafficPolicy Cluster.
	AllowReconcileWithoutEndpoints = "kube-vip.io/allow-reconcile-without-endpoints"
	// ForwardUPnP set to "true" maps the Service's ports on the gateway.
	ForwardUPnP = "kube-vip.io/forwardUPNP"
	// UPnPLeaseDuration is how long such a mapping lasts unless renewed, a Go duration; default 1h; 0 is for ever.
	UPnPLeaseDuration = "kube-vip.io/upnp-lease-duration"
	// VIPHost is the name of the node that holds the Service. Written by the agent.
	VIPHost = "kube-vip.io/vipHost"
)

// Label that the CCM puts on each Service that it served, and its value.
const (
	ImplementationLabel = "implementation"
	Implementation      = "kube-vip"
)

// Labels on the Node of a holder, with enable_node_labeling.
const (
	// HasIPLabel is on the node that holds the control plane's address; its value is the address.
	HasIPLabel = "kube-vip.io/has-ip"
	// ServiceLabelPrefix and then "<service>.<namespace>" is on the node that holds that Service.
	ServiceLabelPrefix = "service-provided.kube-vip.io/"
)

// DefaultClass is the load balancer class that is ours unless configured otherwise.
const DefaultClass = "kube-vip.io/kube-vip-class"

// True reports whether the annotation key is set to "true", the only value that switches on.
func True(annotations map[string]string, key string) bool { return annotations[key] == "true" }
