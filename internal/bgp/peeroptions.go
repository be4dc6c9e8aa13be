package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// pairs reads k=v;k=v in order; a key may stand once.
func pairs(text string, take func(key, value string) error) error {
	if text == "" {
		return nil
	}
	var errs []error
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(text, ";") {
		key, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || value == "":
			errs = append(errs, fmt.Errorf("%q is not key=value", pair))
		case seen[key]:
			errs = append(errs, fmt.Errorf("%s is given twice", key))
		default:
			seen[key] = true
			errs = append(errs, take(key, value))
		}
	}
	return errors.Join(errs...)
}

func parseNextHop(text string) (NextHop, error) {
	var n NextHop
	err := pairs(text, func(key, value string) (err error) {
		switch key {
		case "mpbgp_nexthop":
			n.Mode = NextHopMode(value)
		case "mpbgp_ipv4":
			n.IPv4, err = netip.ParseAddr(value)
		case "mpbgp_ipv6":
			n.IPv6, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"))
		default:
			return fmt.Errorf("%q is none of mpbgp_nexthop, mpbgp_ipv4, mpbgp_ipv6", key)
		}
		if err != nil {
			return fmt.Errorf("%s=%q is not an IP address", key, value)
		}
		return nil
	})
	if err != nil {
		return NextHop{}, err
	}
	return n, n.validate()
}

func (p *Peer) parseOptions(text string) error {
	return pairs(text, func(key, value string) error {
		switch key {
		case "ttlsecurity":
			hops, err := strconv.ParseUint(value, 10, 8)
			if err != nil || hops == 0 {
				return fmt.Errorf("ttlsecurity=%q is not a number of hops from 1 to 255", value)
			}
			p.TTLSecurity = uint8(hops)
		case "passwordfile":
			p.PasswordFile = value
		case "secret":
			p.PasswordSecret = value
		default:
			return fmt.Errorf("%q is none of ttlsecurity, passwordfile, secret", key)
		}
		return nil
	})
}

// FormatPeers returns the text that [ParsePeers] reads back as peers, passwords included. What that text can't say is left out: LocalASN and
// Source. A password with a comma or a colon doesn't come back.
func FormatPeers(peers []Peer) string {
	texts := make([]string, len(peers))
	for i, p := range peers {
		texts[i] = p.format()
	}
	return strings.Join(texts, ",")
}

// format leaves empty fields at the end away.
func (p Peer) format() string {
	name := p.Name()
	if p.Addr.Is6() {
		name = "[" + name + "]"
	}
	fields := []string{name, strconv.FormatUint(uint64(p.ASN), 10), string(p.Password), "", "", p.NextHop.format(), p.BFD.String(), p.formatOptions()}
	switch p.MultihopTTL {
	case 0:
	case DefaultMultihopTTL:
		fields[3] = "true"
	default:
		fields[3] = strconv.Itoa(int(p.MultihopTTL))
	}
	if p.Port != 0 {
		fields[4] = strconv.Itoa(int(p.Port))
	}
	for fields[len(fields)-1] == "" {
		fields = fields[:len(fields)-1]
	}
	return strings.Join(fields, ":")
}

func (n NextHop) format() string {
	var out []string
	if n.Mode != "" {
		out = append(out, "mpbgp_nexthop="+string(n.Mode))
	}
	if n.IPv4.IsValid() {
		out = append(out, "mpbgp_ipv4="+n.IPv4.String())
	}
	if n.IPv6.IsValid() {
		// The colons of the address are none of the peer string: an IPv6 address is written in [ ] here too.
		out = append(out, "mpbgp_ipv6=["+n.IPv6.String()+"]")
	}
	return strings.Join(out, ";")
}

// String returns what [ParseBFD] reads back.
func (b BFD) String() string {
	if !b.Enabled {
		return ""
	}
	return fmt.Sprintf("true;%d;%d;%d", b.MinRx/time.Millisecond, b.MinTx/time.Millisecond, b.Multiplier)
}

func (p Peer) formatOptions() string {
	var out []string
	if p.TTLSecurity != 0 {
		out = append(out, "ttlsecurity="+strconv.Itoa(int(p.TTLSecurity)))
	}
	if p.PasswordFile != "" {
		out = append(out, "passwordfile="+p.PasswordFile)
	}
	if p.PasswordSecret != "" {
		out = append(out, "secret="+p.PasswordSecret)
	}
	return strings.Join(out, ";")
}
