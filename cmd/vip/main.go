// Command vip is the agent: it runs on every node and holds the control plane's address and those of LoadBalancer
// Services. This package turns flags, environment and file into a configuration, renders manifests, and wires the rooms
// together; what the agent does is in daymark/internal/agent.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	root := NewCommand(os.Environ())
	root.SetOut(os.Stdout)
	root.SetErr(os.Stderr)
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vip:", err)
		os.Exit(1)
	}
}

// stopSignals end the agent in good order: the kubelet sends the first, a terminal the second.
func stopSignals() []os.Signal { return []os.Signal{syscall.SIGTERM, os.Interrupt} }

// tellSignals says why stopping ended, and of each signal that comes after it, which changes nothing: a hand-over takes a second, and who
// cut it short, as SIGKILL does, would leave what is held on the link, under a lease until that ends and without one for good.
func tellSignals(stopping context.Context, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-stopping.Done():
		case <-ctx.Done():
			return nil
		}
		again := make(chan os.Signal, 1)
		signal.Notify(again, stopSignals()...)
		defer signal.Stop(again)
		log.Info("stopping", "reason", context.Cause(stopping))
		for {
			select {
			case s := <-again:
				log.Info("stopping already", "signal", s.String())
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// NewCommand returns the command line, for a process with that environment, in os.Environ's form.
func NewCommand(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "vip",
		Short: "Fixed addresses for a Kubernetes cluster: its control plane's, and those of LoadBalancer Services",
		Long: `vip runs on every node and holds the address of the control plane and those of Services of type LoadBalancer,
announced by ARP and NDP, by BGP, or by routes that a routing daemon reads. Every setting is a flag, an environment
variable, or a line of a YAML or JSON file; the stronger of them is the one named first.`,
		Example: `  # What "kubeadm init" finds in /etc/kubernetes/manifests on the first node:
  vip manifest pod --controlplane --arp --interface eth0 --address 192.0.2.10 > kube-vip.yaml

  # An agent on every node for Services, announced to two routers:
  vip manifest rbac --services --bgp --bgppeers 192.0.2.1:65000,192.0.2.2:65000 > rbac.yaml
  vip manifest daemonset --inCluster --services --bgp --localAS 65001 \
      --bgppeers 192.0.2.1:65000,192.0.2.2:65000 > ds.yaml

  # What a node would do with its environment, and where each value comes from:
  vip config print`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := AddFlags(root.PersistentFlags())
	sources := func() Sources { return Sources{Flags: flags, Environ: environ, Host: ThisHost()} }
	root.SetGlobalNormalizationFunc(IgnoreCase)
	root.SetUsageFunc(usage)
	root.AddCommand(managerCommand(sources), manifestCommand(sources), configCommand(sources), versionCommand(), statusCommand(sources))
	return root
}

func managerCommand(sources func() Sources) *cobra.Command {
	return &cobra.Command{
		Use:         "manager",
		Short:       "Run the agent",
		Args:        cobra.NoArgs,
		Annotations: takesSettings(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := Load(checkingLinks(sources()))
			log := newLog(cmd.ErrOrStderr(), loaded.Config.Log.Level)
			for _, n := range loaded.Notices {
				log.Warn(n.Fact, "key", n.Key, "hint", n.Hint)
			}
			for _, key := range loaded.secretArguments() {
				log.Warn("every process of this machine can read a secret among the arguments", "key", key, "hint", "use the environment or a file")
			}
			if err != nil {
				return fmt.Errorf("wrong configuration:\n%w", err)
			}
			return run(cmd.Context(), loaded, log)
		},
	}
}

func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// checkingLinks makes Load ask this machine for the links that are named.
func checkingLinks(src Sources) Sources {
	src.Host.LinkUp = func(name string) (bool, error) {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return false, fmt.Errorf("no link has this name: %w", err)
		}
		return link.Flags&net.FlagUp != 0, nil
	}
	return src
}
