// Package resolve turns the text that names the control plane's addresses into addresses, now and as they change. It knows
// neither links nor Kubernetes, and holds nothing.
package resolve

import (
	"context"
	"net/netip"
	"slices"
)

// Static is a list of addresses that never changes.
type Static []netip.Addr

// Watch calls changed once, with the addresses sorted, and returns nil when ctx ends.
func (s Static) Watch(ctx context.Context, changed func([]netip.Addr)) error {
	addrs := slices.Clone(s)
	slices.SortFunc(addrs, netip.Addr.Compare)
	changed(slices.Compact(addrs))
	<-ctx.Done()
	return nil
}
