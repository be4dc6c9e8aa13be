package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
)

// detect returns the URL of an API server that answers, with a certificate that config trusts, at one of the IP addresses in the
// certificate of the API server on this node. It tries once a second until ctx ends.
func detect(ctx context.Context, config *rest.Config, cp ControlPlane, log *slog.Logger) (string, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last error
	for {
		host, err := detectOnce(ctx, config, cp)
		if err == nil {
			log.Info("api server found", "addr", host)
			return host, nil
		}
		if ctx.Err() == nil || last == nil { // an attempt that ctx cut short tells nothing
			last = err
		}
		log.Warn("no api server found yet", "err", err)
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("finding the API server: %w", last)
		case <-tick.C:
		}
	}
}

func detectOnce(ctx context.Context, config *rest.Config, cp ControlPlane) (string, error) {
	local := net.JoinHostPort(localName, strconv.Itoa(int(cp.Port)))
	addrs, err := certificateAddresses(ctx, config, local)
	if err != nil {
		return "", err
	}
	errs := []error{errors.New("no address in the API server's certificate works")}
	for _, addr := range byNearness(addrs, cp.Addresses) {
		host := "https://" + netip.AddrPortFrom(addr, cp.Port).String()
		if err := answers(ctx, config, host); err != nil {
			errs = append(errs, err)
			continue
		}
		return host, nil
	}
	return "", errors.Join(errs...)
}

// certificateAddresses returns the IP addresses in the certificate that is shown at address. The certificate is not
// trusted: whoever is asked at one of its addresses must prove itself.
func certificateAddresses(ctx context.Context, config *rest.Config, address string) ([]netip.Addr, error) {
	raw, err := config.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server of this node: %w", err)
	}
	defer raw.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // see above
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("reading the certificate of the API server of this node: %w", err)
	}
	var out []netip.Addr
	for _, ip := range conn.ConnectionState().PeerCertificates[0].IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, addr.Unmap())
		}
	}
	return out, nil
}

// byNearness puts loopback first, then the node's own addresses, then others. VIPs are left out: they are what the agent
// is about to bring up.
func byNearness(addrs, vips []netip.Addr) []netip.Addr {
	own := map[netip.Addr]bool{}
	interfaces, _ := net.InterfaceAddrs() // without them the order is only less good
	for _, a := range interfaces {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap()] = true
		}
	}
	rank := func(a netip.Addr) int {
		switch {
		case a.IsLoopback():
			return 0
		case own[a]:
			return 1
		}
		return 2
	}
	out := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(vips, a) })
	slices.SortFunc(out, func(a, b netip.Addr) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(b)) })
	return slices.Compact(out)
}

// answers returns nil when there is an answer, whatever it is, from an API server at host that proves who it is.
func answers(ctx context.Context, config *rest.Config, host string) error {
	one := rest.CopyConfig(config)
	one.Host = host
	client, err := rest.HTTPClientFor(one)
	if err != nil {
		return fmt.Errorf("making a client for %s: %w", host, err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/version", nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", host, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", host, err)
	}
	return response.Body.Close()
}
