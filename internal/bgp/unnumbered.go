package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// Times of router discovery on the link of an unnumbered peer.
const (
	advertiseEvery  = 10 * time.Second // as FRR does for such peers
	advertiseFirst  = 3                // the first ones come a second apart
	forgottenRouter = 35 * time.Second // after which another router on the link counts
	readAtMost      = time.Second
)

// neighbors finds the routers on the links of unnumbered peers: it hears their router advertisements, and advertises this node so that they find it. Its
// advertisements say that it is no default router (RFC 4861, 4.2: a lifetime of 0).
type neighbors struct {
	log     *slog.Logger
	changed chan struct{} // a router was heard for the first time, or another one
	tasks   sync.WaitGroup

	mu      sync.Mutex // guards the rest
	running context.Context
	links   map[string]context.CancelFunc
	routers map[string]router6
}

// router6 is the router on a link.
type router6 struct {
	addr  netip.Addr
	heard time.Time
}

func newNeighbors(log *slog.Logger) *neighbors {
	return &neighbors{log: log, changed: make(chan struct{}, 1), links: map[string]context.CancelFunc{}, routers: map[string]router6{}}
}

// run waits for ctx to end, and then for all that set started.
func (n *neighbors) run(ctx context.Context) {
	n.mu.Lock()
	n.running = ctx
	n.mu.Unlock()
	<-ctx.Done()
	n.tasks.Wait()
}

// set makes links the ones on which routers are looked for. It waits for nothing.
func (n *neighbors) set(links []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running == nil {
		return
	}
	for link, cancel := range n.links {
		if !slices.Contains(links, link) {
			cancel()
			delete(n.links, link)
			delete(n.routers, link)
		}
	}
	for _, link := range links {
		if n.links[link] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(n.running)
		n.links[link] = cancel
		n.tasks.Go(func() { n.discover(ctx, link) })
	}
}

// on returns the router on a link.
func (n *neighbors) on(link string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r, ok := n.routers[link]; ok {
		return r.addr, nil
	}
	return netip.Addr{}, fmt.Errorf("no router heard on link %s", link)
}

// discover looks for the router on a link until ctx ends, also if the link comes and goes.
func (n *neighbors) discover(ctx context.Context, link string) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := n.listen(ctx, link); err != nil && ctx.Err() == nil {
			n.log.Debug("no router discovery", "link", link, "err", err)
		}
		timer.Reset(retry)
	}
}

func (n *neighbors) listen(ctx context.Context, link string) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("looking up link: %w", err)
	}
	conn, own, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer conn.Close()
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	if err := errors.Join(conn.SetICMPFilter(&filter), conn.JoinGroup(netip.IPv6LinkLocalAllNodes()), conn.JoinGroup(netip.IPv6LinkLocalAllRouters())); err != nil {
		return fmt.Errorf("joining groups: %w", err)
	}
	source := &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}
	advertise := func() error {
		return conn.WriteTo(&ndp.RouterAdvertisement{Options: []ndp.Option{source}}, nil, netip.IPv6LinkLocalAllNodes())
	}
	next := time.Now()
	for sent := 0; ctx.Err() == nil; {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(advertiseEvery)
			if sent++; sent <= advertiseFirst {
				next = now.Add(time.Second)
				if err := conn.WriteTo(&ndp.RouterSolicitation{Options: []ndp.Option{source}}, nil, netip.IPv6LinkLocalAllRouters()); err != nil {
					return fmt.Errorf("soliciting: %w", err)
				}
			}
			if err := advertise(); err != nil {
				return fmt.Errorf("advertising: %w", err)
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(min(readAtMost, time.Until(next)))); err != nil {
			return err
		}
		message, _, from, err := conn.ReadFrom()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			continue
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		case from.WithZone("") == own.WithZone("") || !from.IsLinkLocalUnicast():
			continue
		}
		switch message.(type) {
		case *ndp.RouterAdvertisement:
			n.heard(link, from.WithZone(""))
		case *ndp.RouterSolicitation:
			next = time.Now()
		}
	}
	return nil
}

// heard takes in an advertisement. The first router heard counts as long as it is heard.
func (n *neighbors) heard(link string, addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links[link] == nil {
		return
	}
	now := time.Now()
	before, known := n.routers[link]
	switch {
	case known && before.addr == addr:
		n.routers[link] = router6{addr, now}
		return
	case known && now.Sub(before.heard) < forgottenRouter:
		n.log.Debug("another router on the link of an unnumbered peer", "link", link, "addr", addr)
		return
	}
	n.routers[link] = router6{addr, now}
	n.log.Info("router heard", "link", link, "addr", addr)
	select {
	case n.changed <- struct{}{}:
	default:
	}
}
