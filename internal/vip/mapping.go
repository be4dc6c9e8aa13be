package vip

import (
	"net/netip"
	"time"
)

// Protocol is a transport protocol in Kubernetes' spelling.
type Protocol string

// The transport protocols of a Service.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	SCTP Protocol = "SCTP"
)

// Mapping is a port of an address that a gateway should forward.
type Mapping struct {
	Addr     netip.Addr
	Port     uint16
	Protocol Protocol
	// Lease is how long the gateway should keep the mapping unless it is renewed; 0 means for ever.
	Lease time.Duration
	// Description is shown in the gateway's list, such as "default/web".
	Description string
}
