package router

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"daymark/test/netns"
)

// BIRD is a BIRD 2 router on a host, with its own configuration and socket.
type BIRD struct {
	Host   *netns.Host
	Daemon *netns.Command
	dir    string
}

// StartBIRD runs BIRD with a configuration and returns when it takes commands. The
// host forwards. The configuration needs a "router id".
func StartBIRD(ctx context.Context, host *netns.Host, config string) (*BIRD, error) {
	dir, err := host.Dir()
	if err != nil {
		return nil, err
	}
	b := &BIRD{Host: host, dir: filepath.Join(dir, "bird")}
	if err := errors.Join(os.MkdirAll(b.dir, 0o755), os.WriteFile(b.file("conf"), []byte(config), 0o644), host.Forward()); err != nil {
		return nil, fmt.Errorf("preparing BIRD on %s: %w", host.Name(), err)
	}
	b.Daemon = host.Command("bird", "-f", "-c", b.file("conf"), "-s", b.file("ctl"), "-P", b.file("pid"))
	if err := b.Daemon.Start(); err != nil {
		return nil, err
	}
	return b, awaitSocket(ctx, b.Daemon, b.file("ctl"))
}

func (b *BIRD) file(suffix string) string { return filepath.Join(b.dir, "bird."+suffix) }

// Run gives BIRD one command and returns its answer.
func (b *BIRD) Run(ctx context.Context, command ...string) (string, error) {
	out, err := b.Host.Run(ctx, append([]string{"birdc", "-r", "-s", b.file("ctl")}, command...)...)
	return string(out), err
}

// Configure replaces the configuration while BIRD runs.
func (b *BIRD) Configure(ctx context.Context, config string) error {
	if err := os.WriteFile(b.file("conf"), []byte(config), 0o644); err != nil {
		return err
	}
	out, err := b.Host.Run(ctx, "birdc", "-s", b.file("ctl"), "configure")
	if err == nil && !strings.Contains(string(out), "Reconfigur") {
		err = fmt.Errorf("reconfiguring BIRD: %s", out)
	}
	return err
}

// Established says whether the BGP protocol of that name has a session.
func (b *BIRD) Established(ctx context.Context, protocol string) (bool, error) {
	out, err := b.Run(ctx, "show", "protocols", protocol)
	return strings.Contains(out, "Established"), err
}

// Routes are the next hops of each prefix in a table of BIRD's, such as "master4",
// sorted. A route without a next hop, as a static blackhole, has none.
func (b *BIRD) Routes(ctx context.Context, table string) (map[netip.Prefix][]netip.Addr, error) {
	out, err := b.Run(ctx, "show", "route", "table", table)
	if err != nil {
		return nil, err
	}
	return parseRoutes(out), nil
}

// parseRoutes reads "show route": a line for each path, which begins with the
// prefix unless that is the one before's, and a line "via ADDRESS on LINK" for each
// next hop.
func parseRoutes(text string) map[netip.Prefix][]netip.Addr {
	routes := map[netip.Prefix][]netip.Addr{}
	var current netip.Prefix
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if p, err := netip.ParsePrefix(words[0]); err == nil {
			current = p
			routes[p] = routes[p][:len(routes[p]):len(routes[p])]
		}
		if words[0] == "via" && len(words) > 1 {
			if via, err := netip.ParseAddr(words[1]); err == nil {
				routes[current] = append(routes[current], via)
			}
		}
	}
	for _, via := range routes {
		slices.SortFunc(via, netip.Addr.Compare)
	}
	return routes
}
