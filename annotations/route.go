package annotations

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Annotations on a Service that say what routers are told of its addresses. Written by the user.
const (
	// BGPCommunities is a comma list of BGP communities (RFC 1997), 65000:100 each, or a well-known name: no-export, no-advertise,
	// no-peer, graceful-shutdown, blackhole. They are added to those of the configuration.
	BGPCommunities = "kube-vip.io/bgp-communities"
	// BGPLargeCommunities is a comma list of large communities (RFC 8092), 65000:1:2 each. They are added likewise.
	BGPLargeCommunities = "kube-vip.io/bgp-large-communities"
	// BGPLocalPref is LOCAL_PREF for internal peers, a number.
	BGPLocalPref = "kube-vip.io/bgp-local-pref"
	// BGPMED is MULTI_EXIT_DISC, a number.
	BGPMED = "kube-vip.io/bgp-med"
)

const maxCommunities = 32

// wellKnownCommunity knows those of IANA's registry that make sense for an address that is announced.
func wellKnownCommunity(name string) (uint32, bool) {
	switch name {
	case "graceful-shutdown": // RFC 8326
		return 0xffff0000, true
	case "blackhole": // RFC 7999
		return 0xffff029a, true
	case "no-export": // RFC 1997, as the next
		return 0xffffff01, true
	case "no-advertise":
		return 0xffffff02, true
	case "no-peer": // RFC 3765
		return 0xffffff04, true
	}
	return 0, false
}

// ParseCommunities reads the value of [BGPCommunities]: sorted, without duplicates. Every wrong element is reported, named.
func ParseCommunities(value string) ([]uint32, error) {
	var out []uint32
	err := eachElement(value, func(text string) error {
		if c, ok := wellKnownCommunity(text); ok {
			out = append(out, c)
			return nil
		}
		n, err := parseNumbers(text, 2, 16)
		if err != nil {
			return err
		}
		out = append(out, n[0]<<16|n[1])
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// ParseLargeCommunities reads the value of [BGPLargeCommunities]: sorted, without duplicates. Every wrong element is reported, named.
func ParseLargeCommunities(value string) ([][3]uint32, error) {
	var out [][3]uint32
	err := eachElement(value, func(text string) error {
		n, err := parseNumbers(text, 3, 32)
		if err != nil {
			return err
		}
		out = append(out, [3]uint32(n))
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b [3]uint32) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out), nil
}

// FormatCommunities returns the value that [ParseCommunities] reads back.
func FormatCommunities(communities []uint32) string {
	texts := make([]string, len(communities))
	for i, c := range communities {
		texts[i] = fmt.Sprintf("%d:%d", c>>16, c&0xffff)
	}
	return strings.Join(texts, ",")
}

// FormatLargeCommunities returns the value that [ParseLargeCommunities] reads back.
func FormatLargeCommunities(communities [][3]uint32) string {
	texts := make([]string, len(communities))
	for i, c := range communities {
		texts[i] = fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2])
	}
	return strings.Join(texts, ",")
}

// ParseMetric reads the value of [BGPLocalPref] or [BGPMED]; nil for an empty one.
func ParseMetric(value string) (*uint32, error) {
	if value = strings.TrimSpace(value); value == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number from 0 to 4294967295", value)
	}
	metric := uint32(n)
	return &metric, nil
}

func eachElement(value string, take func(text string) error) error {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	if strings.Count(value, ",") >= maxCommunities {
		return fmt.Errorf("more than %d communities", maxCommunities)
	}
	var errs []error
	for text := range strings.SplitSeq(value, ",") {
		errs = append(errs, take(strings.TrimSpace(text)))
	}
	return errors.Join(errs...)
}

// parseNumbers reads count numbers with colons between.
func parseNumbers(text string, count, bits int) ([]uint32, error) {
	parts := strings.Split(text, ":")
	out := make([]uint32, count)
	for i := range out {
		if len(parts) != count {
			return nil, fmt.Errorf("community %q is not %d numbers with colons between", text, count)
		}
		n, err := strconv.ParseUint(parts[i], 10, bits)
		if err != nil {
			return nil, fmt.Errorf("community %q: %q is not a number of %d bits", text, parts[i], bits)
		}
		out[i] = uint32(n)
	}
	return out, nil
}
