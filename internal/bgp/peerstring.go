package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	unnumbered = "unnumbered:"
	maxPeers   = 64
)

// ParsePeers reads the comma list of bgp_peers:
//
//	address:AS:password:multihop:port:mpbgp:bfd:options
//
// Fields from the password on may be empty or missing. An IPv6 address stands in [ ]; unnumbered:<link> stands for the router on a link. multihop is
// true, false or a TTL from 2; mpbgp is k=v;k=v of mpbgp_nexthop, mpbgp_ipv4, mpbgp_ipv6; bfd is enable;rx;tx;multiplier in
// milliseconds; options are k=v;k=v of ttlsecurity (hops), passwordfile, secret. Spaces around a peer are allowed. Every fault is
// reported, with its peer, and without the password.
func ParsePeers(text string) ([]Peer, error) {
	if strings.Count(text, ",") >= maxPeers {
		return nil, fmt.Errorf("more than %d peers", maxPeers)
	}
	var peers []Peer
	var errs []error
	seen := map[string]bool{}
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue
		}
		p, err := parsePeer(one)
		if err == nil {
			err = p.validate()
		}
		if err == nil && seen[p.Name()] {
			err = errors.New("given twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("peer %q: %w", withoutPassword(one), err))
			continue
		}
		seen[p.Name()] = true
		peers = append(peers, p)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return peers, nil
}

// splitPeer parts a peer string into its name and the other seven fields. The colons of an address in [ ] part nothing; what
// stands behind /mpbgp_ is the mpbgp field, as peer strings were written once.
func splitPeer(text string) (name string, fields []string, err error) {
	text, mpbgp, old := strings.Cut(text, "/mpbgp_")
	var rest string
	switch after, ok := strings.CutPrefix(text, unnumbered); {
	case ok:
		link, more, _ := strings.Cut(after, ":")
		name, rest = unnumbered+link, more
	case strings.HasPrefix(text, "["):
		addr, more, ok := strings.Cut(text[1:], "]")
		if !ok {
			return "", nil, errors.New("no ] after the IPv6 address")
		}
		name, rest = addr, strings.TrimPrefix(more, ":")
	default:
		name, rest, _ = strings.Cut(text, ":")
	}
	fields = strings.SplitN(rest, ":", 5) // AS, password, multihop, port, the rest
	if len(fields) == 5 {
		fields = append(fields[:4], splitOutsideBrackets(fields[4])...)
	}
	if len(fields) > 7 || old && len(fields) > 4 {
		return name, fields, errors.New("too many fields (an IPv6 address stands in [ ])")
	}
	fields = append(fields, make([]string, 7-len(fields))...)
	if old {
		fields[4] = "mpbgp_" + mpbgp
	}
	return name, fields, nil
}

func splitOutsideBrackets(text string) []string {
	var fields []string
	start, depth := 0, 0
	for i, c := range []byte(text) {
		switch {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case c == ':' && depth == 0:
			fields = append(fields, text[start:i])
			start = i + 1
		}
	}
	return append(fields, text[start:])
}

// withoutPassword returns of a peer string what may stand in an error: nothing that could be a password, also if it can't be parsed.
func withoutPassword(text string) string {
	name, fields, err := splitPeer(text)
	if err != nil || !nameOnly(name) {
		return name
	}
	if strings.Contains(name, ":") && !strings.HasPrefix(name, unnumbered) {
		name = "[" + name + "]"
	}
	if fields[1] != "" {
		fields[1] = "***"
	}
	return name + ":" + strings.TrimRight(strings.Join(fields, ":"), ":")
}

// nameOnly reports whether name is one of a peer. If it isn't, the fields may be others than they seem, and one of them a password.
func nameOnly(name string) bool {
	if link, ok := strings.CutPrefix(name, unnumbered); ok {
		return validLink(link)
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

func parsePeer(text string) (Peer, error) {
	var p Peer
	name, fields, err := splitPeer(text)
	switch {
	case err != nil:
		return p, err
	case !nameOnly(name):
		return p, errors.New("not an IP address (IPv6 stands in [ ]), nor unnumbered:<link>")
	}
	var errs []error
	fail := func(err error) { errs = append(errs, err) }
	if link, ok := strings.CutPrefix(name, unnumbered); ok {
		p.Link = link
	} else {
		p.Addr = netip.MustParseAddr(name).Unmap()
	}
	if fields[0] != "" || p.Link == "" {
		asn, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			fail(fmt.Errorf("%q is not an AS number", fields[0]))
		}
		p.ASN = uint32(asn)
	}
	p.Password = Secret(fields[1])
	if p.MultihopTTL, err = parseMultihop(fields[2]); err != nil {
		fail(err)
	}
	if p.Link != "" {
		p.MultihopTTL = 0 // a link is one hop
	}
	if p.Port, err = parsePort(fields[3]); err != nil {
		fail(err)
	}
	if p.NextHop, err = parseNextHop(fields[4]); err != nil {
		fail(err)
	}
	if p.BFD, err = ParseBFD(fields[5]); err != nil {
		fail(err)
	}
	if err = p.parseOptions(fields[6]); err != nil {
		fail(err)
	}
	return p, errors.Join(errs...)
}

func parseMultihop(text string) (uint8, error) {
	if text == "" {
		return 0, nil
	}
	if ttl, err := strconv.ParseUint(text, 10, 8); err == nil && ttl >= 2 {
		return uint8(ttl), nil
	}
	on, err := strconv.ParseBool(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("multihop %q is neither true nor false nor a TTL from 2 to 255", text)
	case on:
		return DefaultMultihopTTL, nil
	}
	return 0, nil
}

func parsePort(text string) (uint16, error) {
	if text == "" {
		return 0, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", text)
	}
	if port == DefaultPort {
		return 0, nil
	}
	return uint16(port), nil
}

// ParseBFD reads enable;rx;tx;multiplier with the intervals in milliseconds. What is left out or 0 has its default.
func ParseBFD(text string) (BFD, error) {
	if text == "" {
		return BFD{}, nil
	}
	fields := strings.Split(text, ";")
	on, err := strconv.ParseBool(fields[0])
	if err != nil || len(fields) > 4 {
		return BFD{}, fmt.Errorf("bfd %q is not enable;rx;tx;multiplier", text)
	}
	if !on {
		return BFD{}, nil
	}
	numbers := []uint64{uint64(DefaultBFDInterval / time.Millisecond), uint64(DefaultBFDInterval / time.Millisecond), DefaultBFDMultiplier}
	for i, field := range fields[1:] {
		if field == "" {
			continue
		}
		bits := 32
		if i == 2 {
			bits = 8
		}
		n, err := strconv.ParseUint(field, 10, bits)
		if err != nil {
			return BFD{}, fmt.Errorf("bfd %q: %q is not a number of milliseconds, or a multiplier up to 255", text, field)
		}
		if n != 0 {
			numbers[i] = n
		}
	}
	b := BFD{Enabled: true, MinRx: time.Duration(numbers[0]) * time.Millisecond, MinTx: time.Duration(numbers[1]) * time.Millisecond, Multiplier: uint8(numbers[2])}
	return b, b.validate()
}
