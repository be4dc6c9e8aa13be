package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"
)

// HealthCheck asks a URL now and then; status 200 is healthy.
type HealthCheck struct {
	URL             string
	Period, Timeout time.Duration
	Failures        int    // so many in a row are unhealthy
	CAFile          string // certificates to trust beside the system's; empty for none
	// Unasked is for a check that nobody configured: any status below 500 is healthy, since the server may want to know who asks, and only a
	// server that was healthy once can become unhealthy, since it may be elsewhere.
	Unasked bool
	Logger  *slog.Logger
}

// Run asks until ctx ends and calls changed whenever what came of it changed. It starts healthy; the first answer, or that there
// is none, counts at once. An https URL is asked without looking at the certificate unless CAFile is given, as kubelet does for
// its probes.
func (c HealthCheck) Run(ctx context.Context, changed func(healthy bool)) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(c.Period)
	defer tick.Stop()
	threshold := max(c.Failures, 1)
	failures, healthy, proven := threshold-1, true, !c.Unasked
	for {
		err := c.ask(ctx, client)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err == nil:
			failures, proven = 0, true
		case proven:
			failures++
			c.Logger.Debug("health check failed", "url", c.URL, "failures", failures, "err", err)
		}
		if now := failures < threshold; now != healthy && (err == nil || !now) {
			healthy = now
			c.Logger.Info("health changed", "url", c.URL, "healthy", healthy, "err", err)
			changed(healthy)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c HealthCheck) client() (*http.Client, error) {
	conf := &tls.Config{InsecureSkipVerify: c.CAFile == ""}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of the health check: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("reading the CA of the health check: no certificate in " + c.CAFile)
		}
	}
	return &http.Client{Timeout: c.Timeout, Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}, nil
}

func (c HealthCheck) ask(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && !(c.Unasked && resp.StatusCode < http.StatusInternalServerError) {
		return fmt.Errorf("asking for health: %s", resp.Status)
	}
	return nil
}
