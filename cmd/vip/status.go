package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"daymark/internal/agent"
	"daymark/internal/bgp"
)

func statusCommand(sources func() Sources) *cobra.Command {
	var from string
	var raw bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent on this node holds, and why it does not hold the rest",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				var err error
				if from, err = listening(sources()); err != nil {
					return err
				}
			}
			body, err := fetch(cmd.Context(), "http://"+from+"/vips")
			if err != nil {
				return err
			}
			if raw {
				_, err = cmd.OutOrStdout().Write(body)
				return err
			}
			var v agent.View
			if err := json.Unmarshal(body, &v); err != nil {
				return fmt.Errorf("reading the agent's answer: %w", err)
			}
			return printStatus(cmd.OutOrStdout(), v)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "where the agent listens; else where prometheus_server says, on this node")
	cmd.Flags().BoolVar(&raw, "json", false, "print the agent's answer as it is")
	return cmd
}

// listening returns where the agent of this node is asked, with these settings. Whatever else they lack doesn't matter to that.
func listening(src Sources) (string, error) {
	loaded, _ := Load(src)
	i := slices.IndexFunc(loaded.Values, func(v Value) bool { return v.Key == "prometheus_server" })
	v := loaded.Values[i]
	host, port, err := net.SplitHostPort(v.plain)
	if err != nil {
		return "", fmt.Errorf("prometheus_server=%q (%s) is nowhere to ask; name where the agent listens with --from", v.Text, v.Source)
	}
	if addr, err := netip.ParseAddr(host); err != nil || addr.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w (name its prometheus_server with --from)", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking the agent: %s says %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 64<<20))
}

// printStatus prints v as tables.
func printStatus(w io.Writer, v agent.View) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t")) }
	fmt.Fprintf(w, "node %s, mode %s\n\n", v.Node, v.Mode)
	row("ADDRESS", "LINK", "PHASE", "FOR", "UNTIL", "PROBLEM")
	for _, a := range v.Addresses {
		until := "-"
		if a.Until != nil {
			until = a.Until.Sub(v.At).Round(100 * time.Millisecond).String()
		}
		row(a.Address, a.Link, string(a.Phase), v.At.Sub(a.Since).Round(time.Second).String(), until, a.Problem)
	}
	if len(v.Services) > 0 {
		row("")
		row("SERVICE", "ADDRESSES", "HERE", "REASON")
		for _, s := range v.Services {
			here := "no"
			if s.Held {
				here = "yes"
			}
			row(s.Service, strings.Join(s.Addresses, ","), here, s.Reason)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printRooms(w, v.Rooms)
}

// printRooms prints what the announcers and electors tell of themselves.
func printRooms(w io.Writer, rooms map[string]any) error {
	names := make([]string, 0, len(rooms))
	for name := range rooms {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "bgp" {
			if err := printPeers(w, rooms[name]); err != nil {
				return err
			}
			continue
		}
		text, err := json.MarshalIndent(rooms[name], "", "  ")
		if err != nil {
			return fmt.Errorf("printing %s: %w", name, err)
		}
		fmt.Fprintf(w, "\n%s: %s\n", name, text)
	}
	return nil
}

// printPeers prints the routers as a table.
func printPeers(w io.Writer, room any) error {
	text, err := json.Marshal(room)
	if err != nil {
		return fmt.Errorf("printing peers: %w", err)
	}
	var peers []bgp.PeerState
	if err := json.Unmarshal(text, &peers); err != nil {
		return fmt.Errorf("reading the agent's peers: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\nPEER\tASN\tSTATE\tSINCE\tANNOUNCED\tFLAPS\tBFD\tREASON")
	for _, p := range peers {
		since := "-"
		if !p.Since.IsZero() {
			since = p.Since.Format(time.DateTime)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", p.Peer, p.ASN, p.State, since, p.Announced, p.Flaps, cmp.Or(p.BFD, "-"), p.Reason)
	}
	return t.Flush()
}
