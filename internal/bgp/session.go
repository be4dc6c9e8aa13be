package bgp

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"time"
)

// session is a peer with everything decided that the links say. It is comparable: a session that is equal to the one before is not touched.
type session struct {
	name      string
	neighbor  netip.Addr // with a zone if link-local
	asn       uint32
	localASN  uint32
	port      uint16
	ttl, gtsm uint8
	password  Secret
	local     netip.Addr // invalid: the kernel chooses
	device    string     // the link that the session is bound to, or nothing
	hold      time.Duration
	keepalive time.Duration
	restart   time.Duration
	ipv4      family
	ipv6      family
	bfd       BFD
}

// family is whether a session carries an address family, and with which next hop; an invalid one is the session's own address.
type family struct {
	on      bool
	nextHop netip.Addr
}

// speaks is what belongs to the speaker as a whole: a change of it restarts every session.
type speaks struct {
	asn      uint32
	routerID netip.Addr
}

func (c Config) speaks() (speaks, error) {
	id, err := c.routerID()
	return speaks{c.ASN, id}, err
}

// errNoAddress is when a link has no address of a family.
var errNoAddress = errors.New("no such address")

// routerID never takes an address of a loopback link unless told to, where addresses come and go.
func (c Config) routerID() (netip.Addr, error) {
	switch {
	case c.RouterID.IsValid():
		return c.RouterID, nil
	case c.RouterLink != "":
		addr, err := linkAddr(c.RouterLink, isIPv4)
		if err != nil {
			return addr, fmt.Errorf("taking the router ID from link %s: %w", c.RouterLink, err)
		}
		return addr, nil
	case c.Source.Is4():
		return c.Source, nil
	}
	for _, p := range c.Peers {
		if p.Source.Is4() {
			return p.Source, nil
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing links: %w", err)
	}
	var ipv6 netip.Addr
	for _, link := range links {
		if link.Flags&net.FlagLoopback != 0 || link.Flags&net.FlagUp == 0 {
			continue
		}
		if addr, err := linkAddr(link.Name, isIPv4); err == nil {
			return addr, nil
		}
		if addr, err := linkAddr(link.Name, isIPv6); err == nil && !ipv6.IsValid() {
			ipv6 = addr
		}
	}
	if !ipv6.IsValid() {
		return netip.Addr{}, errors.New("no link has an address to take the router ID from: set bgp_routerid")
	}
	// RFC 6286: any number that is unique in the AS and not 0.
	h := fnv.New32a()
	h.Write(ipv6.AsSlice())
	sum := h.Sum32() | 1
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), nil
}

// sessions returns the sessions of c in the order of its peers, and what is wrong with peers that get none for now. neighbor knows the router on the link of an unnumbered peer.
func (c Config) sessions(neighbor func(link string) (netip.Addr, error)) ([]session, map[string]error) {
	var out []session
	wrong := map[string]error{}
	for _, p := range c.Peers {
		s, err := c.session(p, neighbor)
		if err != nil {
			wrong[p.Name()] = err
			continue
		}
		out = append(out, s)
	}
	return out, wrong
}

func (c Config) session(p Peer, neighbor func(link string) (netip.Addr, error)) (session, error) {
	s := session{
		name: p.Name(), neighbor: p.Addr, asn: p.ASN, localASN: p.LocalASN, port: p.Port, ttl: p.MultihopTTL, gtsm: p.TTLSecurity,
		password: p.Password, restart: c.GracefulRestart, bfd: p.BFD,
	}
	if s.port == 0 {
		s.port = DefaultPort
	}
	if s.localASN == 0 {
		s.localASN = c.ASN
	}
	s.hold, s.keepalive = c.timers()
	if p.Link != "" {
		addr, err := neighbor(p.Link)
		if err != nil {
			return s, err
		}
		s.neighbor = addr.WithZone(p.Link)
	}
	if s.neighbor.Zone() != "" {
		// A link-local session carries IPv4 too, with an IPv6 next hop (RFC 8950).
		s.ipv4.on, s.ipv6.on = true, true
		return s, nil
	}
	s.ipv4.on, s.ipv6.on = s.neighbor.Is4(), s.neighbor.Is6()
	if err := c.bind(p, &s); err != nil {
		return s, err
	}
	return s, c.nextHops(p, &s)
}

// bind decides where the session comes from.
func (c Config) bind(p Peer, s *session) error {
	for _, source := range []netip.Addr{p.Source, c.Source} {
		if source.IsValid() && source.Is4() == s.neighbor.Is4() {
			s.local = source
			return nil
		}
	}
	if c.SourceLink == "" {
		return nil
	}
	link, err := net.InterfaceByName(c.SourceLink)
	switch {
	case err != nil:
		return fmt.Errorf("looking up source link %s: %w", c.SourceLink, err)
	case link.Flags&net.FlagLoopback == 0:
		s.device = c.SourceLink
		return nil
	}
	// Nothing leaves by a loopback link: it is where the address is.
	s.local, err = linkAddr(c.SourceLink, func(a netip.Addr) bool { return a.Is4() == s.neighbor.Is4() })
	if err != nil {
		return fmt.Errorf("taking the source address from link %s: %w", c.SourceLink, err)
	}
	return nil
}

// nextHops decides which families the session carries, and with which next hops.
func (c Config) nextHops(p Peer, s *session) error {
	n := p.NextHop
	if n.Mode == "" {
		n = c.NextHop
	}
	ipv4, ipv6 := n.IPv4, n.IPv6
	switch n.Mode {
	case "":
		return nil
	case NextHopSourceIP:
		source := s.local
		if !source.IsValid() {
			source = c.Source
		}
		if !source.IsValid() {
			return errors.New("mpbgp_nexthop=auto_sourceip needs a source address")
		}
		link, err := linkOf(source)
		if err != nil {
			return fmt.Errorf("taking next hops from the link of %s: %w", source, err)
		}
		ipv4, ipv6 = bothFamilies(link)
		if source.Is4() {
			ipv4 = source
		} else {
			ipv6 = source
		}
	case NextHopSourceLink:
		if c.SourceLink == "" {
			return errors.New("mpbgp_nexthop=auto_sourceif needs a source link")
		}
		ipv4, ipv6 = bothFamilies(c.SourceLink)
	}
	for family, addr := range map[*family]netip.Addr{&s.ipv4: ipv4, &s.ipv6: ipv6} {
		if addr.IsValid() {
			family.on, family.nextHop = true, addr
		}
	}
	return nil
}
