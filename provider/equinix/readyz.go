package equinix

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"k8s.io/client-go/rest"
)

// Readyz returns the question to an API server whether it is ready (GET /readyz, 200), with cfg's identity and trust but at an address of its own: the
// server must show a certificate of the cluster's authority for that address. Each question takes a new connection, as a new client would.
func Readyz(cfg *rest.Config) (func(ctx context.Context, server netip.AddrPort) error, error) {
	if cfg.Insecure {
		return nil, fmt.Errorf("asking API servers for their health: the kubeconfig trusts any certificate (insecure-skip-tls-verify); give it the cluster's authority")
	}
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's certificate authority: %w", err)
	}
	transport, err := rest.HTTPWrappersForConfig(cfg, &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true})
	if err != nil {
		return nil, fmt.Errorf("preparing to ask API servers for their health: %w", err)
	}
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, server netip.AddrPort) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server.String()+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s/readyz: %s", server, answer.Status)
		}
		return nil
	}, nil
}
