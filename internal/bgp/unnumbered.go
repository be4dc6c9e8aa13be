package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
)

// neighbors knows the routers on the links of unnumbered peers.
type neighbors struct {
	log     *slog.Logger
	changed chan struct{}
}

func newNeighbors(log *slog.Logger) *neighbors {
	return &neighbors{log: log, changed: make(chan struct{}, 1)}
}

func (n *neighbors) run(ctx context.Context) { <-ctx.Done() }
func (n *neighbors) set(links []string)      {}
func (n *neighbors) on(link string) (netip.Addr, error) {
	return netip.Addr{}, fmt.Errorf("no router heard on link %s", link)
}
