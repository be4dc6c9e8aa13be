package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one condition of being alive or ready. Its error says what is amiss, for people.
type Check struct {
	Name string
	Test func() error
}

// Pages are what the agent shows over HTTP.
type Pages struct {
	Metrics prometheus.Gatherer
	Live    []Check // of /livez: restarting the process would help
	Ready   []Check // of /readyz
	// View returns what /vips shows.
	View func() View
}

// Routes returns the handler of every page: /metrics, /livez, /readyz, /healthz, /vips.
func (p *Pages) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{}))
	p.health(mux)
	mux.HandleFunc("GET /vips", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(p.View()) // the client went away
	})
	return mux
}

// Health returns the handler of the health pages alone.
func (p *Pages) Health() http.Handler {
	mux := http.NewServeMux()
	p.health(mux)
	return mux
}

func (p *Pages) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", checks(p.Live))
	mux.HandleFunc("GET /readyz", checks(p.Ready))
	mux.HandleFunc("GET /healthz", checks(p.Live))
}

// checks answers 200 when every check passes, else 503, with a line for each check.
func checks(list []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		code := http.StatusOK
		var lines []string
		for _, c := range list {
			if err := c.Test(); err != nil {
				code = http.StatusServiceUnavailable
				lines = append(lines, fmt.Sprintf("[-] %s: %s", c.Name, err))
				continue
			}
			lines = append(lines, "[+] "+c.Name)
		}
		slices.Sort(lines)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, strings.Join(append(lines, http.StatusText(code)), "\n")) // the client went away
	}
}

// ListenAndServe serves h at addr until ctx ends. While another program has the port it tries again, since that is no reason
// not to hold addresses.
func ListenAndServe(ctx context.Context, addr string, h http.Handler, log *slog.Logger) error {
	const again = 10 * time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := serve(ctx, addr, h); err != nil {
			log.Warn("not listening", "addr", addr, "err", err, "retry", again)
		}
		timer.Reset(again)
	}
}

func serve(ctx context.Context, addr string, h http.Handler) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
