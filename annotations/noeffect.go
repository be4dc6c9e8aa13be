package annotations

import "slices"

// Annotations on a Service that kube-vip knows and that have no more than a name here, beside those for DHCP and UPnP. Written by the user.
const (
	// Egress set to "true" gives what the Service's pods send the Service's address as their source.
	Egress = "kube-vip.io/egress"
	// EgressIPv6 set to "true" does so for IPv6.
	EgressIPv6 = "kube-vip.io/egress-ipv6"
	// EgressInternal set to "true" does it by nftables.
	EgressInternal = "kube-vip.io/egress-internal"
	// EgressSourcePorts is a comma list of ports that the address takes traffic on.
	EgressSourcePorts = "kube-vip.io/egress-source-ports"
	// EgressDestinationPorts is a comma list of ports that the pods may send to.
	EgressDestinationPorts = "kube-vip.io/egress-destination-ports"
	// EgressAllowedNetworks is a comma list of networks that egress is for.
	EgressAllowedNetworks = "kube-vip.io/egress-allowed-networks"
	// EgressDeniedNetworks is a comma list of networks that egress is not for.
	EgressDeniedNetworks = "kube-vip.io/egress-denied-networks"
	// FlushConntrack set to "true" ends the connections that the kernel tracks when the Service is set up.
	FlushConntrack = "kube-vip.io/flush-conntrack"
)

// WithoutEffect returns, sorted, the keys of a Service's annotations that ask for something that this version doesn't do, and that
// the Service is served without. An empty value and "false" ask for nothing.
func WithoutEffect(annotations map[string]string) []string {
	known := [...]string{
		LoadBalancerHostname, HardwareAddress, RequestedIP, MACVLANName, DHCPBroadcast, RPFilter, DDNS, ForwardUPnP, UPnPLeaseDuration,
		Egress, EgressIPv6, EgressInternal, EgressSourcePorts, EgressDestinationPorts, EgressAllowedNetworks, EgressDeniedNetworks, FlushConntrack,
	}
	var keys []string
	for _, key := range known {
		if value := annotations[key]; value != "" && value != "false" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
