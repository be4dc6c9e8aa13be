// Package bgp announces addresses to routers: a speaker that offers one path for each address that this node should have, and takes
// none in return. It opens no port: it connects to its peers.
//
// It knows neither Kubernetes nor where addresses come from, and changes nothing in the kernel. GoBGP is inside and doesn't show.
package bgp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Values that count where a [Config] or a peer string says nothing.
const (
	DefaultASN       = 65000
	DefaultPort      = 179
	DefaultHoldTime  = 30 * time.Second
	DefaultKeepalive = 10 * time.Second
	// DefaultMultihopTTL is the TTL of a peer of which only "true" is said.
	DefaultMultihopTTL = 64
)

// maxPassword is TCP_MD5SIG_MAXKEYLEN of linux/tcp.h.
const maxPassword = 80

// Secret is a password. It prints as stars; converting it to string gives the text.
type Secret string

// String returns stars, or nothing for no password.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString returns what String returns.
func (s Secret) GoString() string { return s.String() }

// MarshalText returns what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Config is all that a [Speaker] needs to know beside the addresses.
type Config struct {
	// ASN is the local AS number.
	ASN uint32
	// RouterID is the BGP identifier, an IPv4 address. Invalid means: the first IPv4 address of RouterLink, or else the source
	// address, or else the first IPv4 address of a link that has one.
	RouterID netip.Addr
	// RouterLink is the link whose address is the router ID.
	RouterLink string
	// Source is the source address of the sessions of its family; SourceLink is the link that they leave by, of a loopback link the source
	// address. Neither: the kernel chooses. Not both.
	Source     netip.Addr
	SourceLink string
	// HoldTime and Keepalive are the timers of RFC 4271, 10, in whole seconds; 0 means the default. A hold time is 3 s or more.
	HoldTime  time.Duration
	Keepalive time.Duration
	// NextHop counts for every peer that says nothing of it.
	NextHop NextHop
	// GracefulRestart is how long peers shall keep the paths of a speaker that went without a word, and that said so when it left
	// (RFC 4724), in whole seconds up to 4095; 0 means not at all.
	GracefulRestart time.Duration
	// Drain is how long a path stays, marked GRACEFUL_SHUTDOWN (RFC 8326), before it is withdrawn at the end of Run, so that routers
	// move to others first; 0 means no mark and no wait.
	Drain time.Duration
	// Route is said of every address; what an address says by itself counts first, communities are added.
	Communities      []uint32
	LargeCommunities [][3]uint32
	LocalPref        *uint32
	MED              *uint32
	// Peers are the routers, without two of the same [Peer.Name].
	Peers []Peer
}

// Peer is one router.
type Peer struct {
	// Addr is the router's address, with a zone if it is link-local; invalid for an unnumbered peer.
	Addr netip.Addr
	// Link is the link of an unnumbered peer, whose link-local address is learnt from its router advertisements.
	Link string
	// ASN is the router's AS number; of an unnumbered peer, 0 means whatever the router says. LocalASN is ours towards this peer, 0 means [Config.ASN].
	ASN      uint32
	LocalASN uint32
	// Source is the source address towards this peer; invalid means [Config.Source]. One of the other family is not used.
	Source netip.Addr
	// Port is the router's TCP port; 0 means 179.
	Port uint16
	// MultihopTTL is the TTL of packets to a router that is not on a link of the node; 0 means that it is on one.
	MultihopTTL uint8
	// TTLSecurity is how many hops away the router may be at most, 1 for one on a link (GTSM, RFC 5082); 0 means not checked. Not
	// together with MultihopTTL.
	TTLSecurity uint8
	// Password is the TCP MD5 password (RFC 2385), at most 80 bytes; empty for none. PasswordFile and PasswordSecret (name or namespace/name)
	// say where it is; whoever configures the speaker reads it from there.
	Password       Secret
	PasswordFile   string
	PasswordSecret string
	NextHop        NextHop
	BFD            BFD
}

// Name is how a peer is called in logs, metrics and the peer string: its address, or unnumbered:<link>.
func (p Peer) Name() string {
	if p.Link != "" {
		return unnumbered + p.Link
	}
	return p.Addr.String()
}

// NextHopMode is where next hops for both families come from.
type NextHopMode string

// The modes of a [NextHop]. The zero mode announces only the family of the session, with the session's own address.
const (
	// NextHopFixed takes the addresses of the NextHop.
	NextHopFixed NextHopMode = "fixed"
	// NextHopSourceIP takes the source address and, of the other family, the first address on the link that holds it.
	NextHopSourceIP NextHopMode = "auto_sourceip"
	// NextHopSourceLink takes the first address of each family on the source link.
	NextHopSourceLink NextHopMode = "auto_sourceif"
)

// NextHop makes a session carry both families (RFC 4760), each with a next hop of its own.
type NextHop struct {
	Mode       NextHopMode
	IPv4, IPv6 netip.Addr // of NextHopFixed; at least one; a family without one is not announced
}

// Default intervals of BFD.
const (
	DefaultBFDInterval   = 300 * time.Millisecond
	DefaultBFDMultiplier = 3
)

// BFD is fast detection that a router is gone, and by the router that we are (RFC 5880, asynchronous mode; RFC 5881 for one
// hop, RFC 5883 for a peer with multihop).
type BFD struct {
	Enabled bool
	// MinRx and MinTx are RequiredMinRxInterval and DesiredMinTxInterval, whole milliseconds from 10 ms to 60 s.
	MinRx, MinTx time.Duration
	// Multiplier is after how many missing packets the session is down.
	Multiplier uint8
}

// Validate reports everything that is wrong with c; it looks at no link.
func (c Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !validASN(c.ASN) {
		fail("local AS %d is not an AS number", c.ASN)
	}
	if c.RouterID.IsValid() && (!c.RouterID.Is4() || c.RouterID.IsUnspecified()) {
		fail("router ID %s is not an IPv4 address", c.RouterID)
	}
	if c.Source.IsValid() && c.SourceLink != "" {
		fail("source address %s and source link %s exclude each other", c.Source, c.SourceLink)
	}
	hold, keepalive := c.timers()
	if hold != hold.Truncate(time.Second) || hold < 3*time.Second || hold > 65535*time.Second {
		fail("hold time %s is not whole seconds from 3 to 65535 (RFC 4271, 4.2)", hold)
	}
	if keepalive != keepalive.Truncate(time.Second) || keepalive < time.Second || keepalive >= hold {
		fail("keepalive interval %s is not whole seconds from 1 to less than the hold time %s", keepalive, hold)
	}
	if c.GracefulRestart != c.GracefulRestart.Truncate(time.Second) || c.GracefulRestart < 0 || c.GracefulRestart > 4095*time.Second {
		fail("graceful restart time %s is not whole seconds from 0 to 4095 (RFC 4724, 3)", c.GracefulRestart)
	}
	if c.Drain < 0 {
		fail("drain time %s is negative", c.Drain)
	}
	errs = append(errs, c.NextHop.validate())
	var names []string
	for _, p := range c.Peers {
		if err := p.validate(); err != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", p.Name(), err))
		}
		if slices.Contains(names, p.Name()) {
			fail("peer %s is given twice", p.Name())
		}
		names = append(names, p.Name())
	}
	return errors.Join(errs...)
}

// timers returns hold time and keepalive interval with their defaults; a keepalive interval of its own is a third of the hold time.
func (c Config) timers() (hold, keepalive time.Duration) {
	hold, keepalive = c.HoldTime, c.Keepalive
	switch {
	case hold == 0 && keepalive == 0:
		return DefaultHoldTime, DefaultKeepalive
	case hold == 0:
		hold = max(DefaultHoldTime, 3*keepalive)
	case keepalive == 0:
		keepalive = max((hold / 3).Truncate(time.Second), time.Second)
	}
	return hold, keepalive
}

// validASN knows the reserved numbers: 0 (RFC 7607), 23456 (RFC 6793) and the last (RFC 7300).
func validASN(n uint32) bool { return n != 0 && n != 23456 && n != 1<<32-1 }

// links returns the links of unnumbered peers.
func (c Config) links() []string {
	var out []string
	for _, p := range c.Peers {
		if p.Link != "" {
			out = append(out, p.Link)
		}
	}
	return out
}
