// Command ccm is the cloud-controller-manager: it gives Services of type LoadBalancer addresses, from pools or from a vendor, on the
// framework of k8s.io/cloud-provider, whose flags it keeps. It reads flags and environment, wires package provider to the framework,
// and prints; which address a Service gets, and how it is written, is decided below.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// version is set by the linker: -X main.version=v1.2.3. Nothing else writes it.
var version string

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	noticeDeadConnections()
	command, err := newCommand(os.Getenv)
	if err == nil {
		err = cli.RunNoErrOutput(command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ccm:", err)
		os.Exit(1)
	}
}

// gcPercent trades a little processor time for memory: the ccm keeps every Service, and has little else to do than to keep them.
const gcPercent = 50

// noticeDeadConnections makes every client of the API server notice within 5 s that its connection leads nowhere, unless the environment
// says otherwise. It is usually made to the control plane's VIP, and that may move to another node without a word; client-go's
// own 45 s are longer than a lease of the framework lasts, so each move of the VIP could cost the leader its lease.
func noticeDeadConnections() {
	for key, seconds := range map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "3", "HTTP2_PING_TIMEOUT_SECONDS": "2"} {
		if os.Getenv(key) == "" {
			os.Setenv(key, seconds)
		}
	}
}

// newCommand returns the controller with its subcommands.
func newCommand(getenv func(string) string) (*cobra.Command, error) {
	settings, err := settingsFrom(getenv)
	if err != nil {
		return nil, err
	}
	root, err := newController(&settings, getenv)
	if err != nil {
		return nil, err
	}
	for _, sub := range []*cobra.Command{newPoolsCommand(&settings), newManifestCommand(&settings)} {
		// The framework's help lists its own flags for every command below it.
		sub.SetHelpFunc(func(c *cobra.Command, _ []string) {
			fmt.Fprintf(c.OutOrStdout(), "%s\n\n%s", c.Short, c.UsageString())
		})
		sub.SetUsageFunc((&cobra.Command{}).UsageFunc())
		root.AddCommand(sub)
	}
	return root, nil
}
