// Command serve is the simulator of package metalapi as a program, to play with by hand, or against another client. The account is at -listen, and asks for the token; what
// the simulator itself is told, devices, faults and latency, goes to -control (see [metalapi.Server.Control]):
//
//	echo secret > token
//	go run ./test/metalapi/serve -token-file token -state account.json &
//	curl -H "X-Auth-Token: secret" http://127.0.0.1:8086/metal/v1/projects/<project>/devices
//	curl -d '{"call": "POST /devices/{device}/ips", "times": 1, "status": 503}' http://127.0.0.1:8087/faults
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"daymark/test/metalapi"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8086", "address of the API")
	control := flag.String("control", "127.0.0.1:8087", "address of the simulator's own controls; empty for none")
	tokenFile := flag.String("token-file", "", "file with the token that the API asks for; needed")
	project := flag.String("project", "5f2f3a3e-6d0a-4b57-9d5a-2f6f0f3f7b11", "UUID of the project")
	metro := flag.String("metro", "da", "code of the metro")
	public := flag.String("public", "198.19.128.0/24", "prefix that public addresses are cut from")
	private := flag.String("private", "198.19.129.0/24", "prefix that private addresses are cut from")
	quota := flag.Int("quota", 0, "number of reservations after which there are no more; 0 for no limit")
	stateFile := flag.String("state", "", "JSON file with devices and reservations to begin with")
	flag.Parse()

	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		return fmt.Errorf("-token-file: %w", err)
	}
	cfg := metalapi.Config{
		Token: strings.TrimSpace(string(token)), Project: *project, Metro: *metro, Quota: *quota,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if cfg.Token == "" {
		return errors.New("-token-file: the file is empty")
	}
	if cfg.Public, err = netip.ParsePrefix(*public); err != nil {
		return fmt.Errorf("-public: %w", err)
	}
	if cfg.Private, err = netip.ParsePrefix(*private); err != nil {
		return fmt.Errorf("-private: %w", err)
	}
	api := metalapi.New(cfg)
	if *stateFile != "" {
		text, err := os.ReadFile(*stateFile)
		if err != nil {
			return fmt.Errorf("-state: %w", err)
		}
		var state metalapi.State
		if err := json.Unmarshal(text, &state); err != nil {
			return fmt.Errorf("-state: %w", err)
		}
		if err := api.Prepare(state); err != nil {
			return fmt.Errorf("-state: %w", err)
		}
	}
	failed := make(chan error, 2)
	serve := func(at string, handler http.Handler) error {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "listening at", l.Addr())
		go func() { failed <- http.Serve(l, handler) }()
		return nil
	}
	if err := serve(*listen, api); err != nil {
		return err
	}
	if *control != "" {
		if err := serve(*control, api.Control()); err != nil {
			return err
		}
	}
	return <-failed
}
