package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"daymark/annotations"
	"daymark/internal/bgp"
)

// subnet reads "v4,v6": two prefix lengths, or one of them. Each is a number, with or without a slash, or "auto".
func subnet() kind[Subnet] {
	return kind[Subnet]{"bits[,bits]", parseSubnet, func(s Subnet) string { return bitsText(s.V4) + "," + bitsText(s.V6) }}
}

func parseSubnet(s string) (Subnet, error) {
	out := Subnet{32, 128}
	first, second, two := strings.Cut(s, ",")
	v4, v6 := strings.TrimSpace(first), strings.TrimSpace(second)
	if !two {
		if v4 == "auto" {
			return Subnet{AutoBits, AutoBits}, nil
		}
		// One length alone: more than 32 can only be meant for IPv6.
		if n, err := bits(v4, 128); err == nil && n > 32 {
			out.V6 = n
			return out, nil
		}
		n, err := bits(v4, 32)
		out.V4 = n
		return out, err
	}
	var err4, err6 error
	out.V4, err4 = bits(v4, 32)
	out.V6, err6 = bits(v6, 128)
	return out, errors.Join(err4, err6)
}

func bits(s string, most uint64) (int, error) {
	if s == "auto" {
		return AutoBits, nil
	}
	n, err := whole(strings.TrimPrefix(s, "/"), 1, most)
	if err != nil {
		return 0, fmt.Errorf("prefix length %q: %w", s, err)
	}
	return int(n), nil
}

func bitsText(n int) string {
	if n == AutoBits {
		return "auto"
	}
	return strconv.Itoa(n)
}

// bindAddress is the control plane's address: a list of addresses or one DNS name. It fills two fields.
func bindAddress() binding {
	return binding{
		kind: "list of address, or name",
		parse: func(c *Config, text string) error {
			addrs, host, err := parseAddress(text)
			if err == nil {
				c.ControlPlane.Addresses, c.ControlPlane.Host = addrs, host
			}
			return err
		},
		format: func(c *Config) string {
			if c.ControlPlane.Host != "" {
				return c.ControlPlane.Host
			}
			return annotations.FormatAddresses(c.ControlPlane.Addresses)
		},
	}
}

func parseAddress(text string) ([]netip.Addr, string, error) {
	requests, err := annotations.ParseRequests(text)
	if err != nil {
		return nil, "", err
	}
	var addrs []netip.Addr
	var errs []error
	for _, r := range requests {
		switch {
		case r.Host != "" && len(requests) > 1:
			errs = append(errs, fmt.Errorf("%q: a DNS name must be alone", r.Host))
		case r.Host != "":
			return nil, r.Host, nil
		case r.Addr.IsUnspecified(), r.Addr.IsMulticast(), r.Addr.IsLoopback():
			errs = append(errs, fmt.Errorf("%q: not an address that a network can reach", r.Addr))
		case slices.Contains(addrs, r.Addr):
			errs = append(errs, fmt.Errorf("%q: given twice", r.Addr))
		default:
			addrs = append(addrs, r.Addr)
		}
	}
	if len(errs) > 0 {
		return nil, "", errors.Join(errs...)
	}
	return addrs, "", nil
}

// lease is "name" or "namespace/name". The namespace is filled in once it is known.
func lease() kind[LeaseRef] {
	return kind[LeaseRef]{"lease", func(s string) (LeaseRef, error) {
		ref := leaseRef(s, "")
		if strings.Contains(s, "/") && !isName(ref.Namespace) || !isName(ref.Name) {
			return LeaseRef{}, errors.New("not a name, or namespace/name, of a Lease")
		}
		return ref, nil
	}, func(l LeaseRef) string {
		if l.Namespace == "" {
			return l.Name
		}
		return l.String()
	}}
}

// name is the name of a Kubernetes object.
func name() kind[string] {
	return checked("name", func(s string) error {
		if !isName(s) {
			return errors.New("not a name of a Kubernetes object: lower-case letters, digits, - and . only")
		}
		return nil
	})
}

// isName is Kubernetes' DNS-1123 subdomain (RFC 1123, 2.1).
func isName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, outsideLabel) {
			return false
		}
	}
	return true
}

func outsideLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}

// communities and largeCommunities are lists in the form that annotations have too.
func communities() kind[[]uint32] {
	return kind[[]uint32]{"list of community", annotations.ParseCommunities, annotations.FormatCommunities}
}

func largeCommunities() kind[[][3]uint32] {
	return kind[[][3]uint32]{"list of large community", annotations.ParseLargeCommunities, annotations.FormatLargeCommunities}
}

// peers is bgp_peers. Its errors show no password; its text does.
func peers() kind[[]bgp.Peer] {
	return kind[[]bgp.Peer]{"list of peer", bgp.ParsePeers, bgp.FormatPeers}
}

func nextHopMode() kind[bgp.NextHopMode] {
	k := choice(string(bgp.NextHopFixed), string(bgp.NextHopSourceIP), string(bgp.NextHopSourceLink))
	return kind[bgp.NextHopMode]{k.name, func(s string) (bgp.NextHopMode, error) {
		_, err := k.parse(s)
		return bgp.NextHopMode(s), err
	}, func(m bgp.NextHopMode) string { return string(m) }}
}

// withoutPasswords is the text of peers that may be shown.
func withoutPasswords(peers []bgp.Peer) string {
	shown := slices.Clone(peers)
	for i := range shown {
		if shown[i].Password != "" {
			shown[i].Password = "****"
		}
	}
	return bgp.FormatPeers(shown)
}

func sortedUnique[T any](compare func(a, b T) int) func([]T) []T {
	return func(v []T) []T {
		slices.SortFunc(v, compare)
		return slices.CompactFunc(v, func(a, b T) bool { return compare(a, b) == 0 })
	}
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
