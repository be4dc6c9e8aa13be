package router

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Path is one path of a prefix in FRR's BGP table.
type Path struct {
	Valid     bool
	Multipath bool
	Metric    *uint32
	LocPrf    *uint32
	Aspath    struct{ String string }
	Stale     bool
	Community struct{ String string }
	Large     struct{ String string } `json:"largeCommunity"`
	Nexthops  []struct {
		IP    string `json:"ip"`
		Used  bool
		Scope string
	}
	Peer struct{ PeerId string }
}

// Leaving says whether the path is marked GRACEFUL_SHUTDOWN (RFC 8326).
func (p Path) Leaving() bool {
	return strings.Contains(p.Community.String, "graceful-shutdown") || strings.Contains(p.Community.String, "gracefulShutdown")
}

// Paths are FRR's paths of a prefix.
func (f *FRR) Paths(ctx context.Context, prefix string) ([]Path, error) {
	family := "ipv4"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	var out struct{ Paths []Path }
	err := f.Show(ctx, fmt.Sprintf("show bgp %s unicast %s json", family, prefix), &out)
	return out.Paths, err
}

// Prefixes are all prefixes of a family, "ipv4" or "ipv6", in FRR's BGP table, sorted.
func (f *FRR) Prefixes(ctx context.Context, family string) ([]string, error) {
	text, err := f.Run(ctx, fmt.Sprintf("show bgp %s unicast json", family))
	if err != nil || !strings.Contains(text, "{") {
		return nil, err
	}
	var out struct{ Routes map[string]any }
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("decoding FRR's table: %w: %s", err, text)
	}
	return slices.SortedFunc(maps.Keys(out.Routes), func(a, b string) int {
		return netip.MustParsePrefix(a).Addr().Compare(netip.MustParsePrefix(b).Addr())
	}), nil
}
