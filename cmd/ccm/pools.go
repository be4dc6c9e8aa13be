package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"daymark/ipam"
	"daymark/provider"
)

// newPoolsCommand returns `ccm pools`, which reads the cluster with the user's kubeconfig, and `ccm pools check`.
func newPoolsCommand(s *settings) *cobra.Command {
	var kubeconfig, output string
	command := &cobra.Command{
		Use:   "pools",
		Short: "Show the pools, how full they are, and who has which address",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output %q: neither table nor json", output)
			}
			rules := clientcmd.NewDefaultClientConfigLoadingRules()
			rules.ExplicitPath = kubeconfig
			config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
			if err != nil {
				return fmt.Errorf("reading the kubeconfig: %w", err)
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			view, err := provider.Look(c.Context(), client, s.Namespace, s.ConfigMap)
			if err != nil {
				return err
			}
			report := reportOf(view)
			if output == "json" {
				encoder := json.NewEncoder(c.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(report)
			}
			return report.print(c.OutOrStdout())
		},
		SilenceUsage: true,
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "Kubeconfig to use instead of $KUBECONFIG or ~/.kube/config.")
	command.Flags().StringVarP(&output, "output", "o", "table", "table or json.")
	command.Flags().StringVar(&s.Namespace, "pools-namespace", s.Namespace, "Namespace of the ConfigMap with the pools.")
	command.Flags().StringVar(&s.ConfigMap, "pools-config-map", s.ConfigMap, "Name of the ConfigMap with the pools.")
	command.AddCommand(newCheckCommand())
	return command
}

// report is what `ccm pools` shows; its JSON is for programs.
type report struct {
	Pools     []poolUse  `json:"pools"`
	Addresses []holding  `json:"addresses"`
	Without   []string   `json:"withoutAddress"`
	Conflicts []conflict `json:"conflicts"`
	Problems  []string   `json:"problems"`
}

type poolUse struct {
	Pool   string     `json:"pool"`
	Family string     `json:"family"`
	Size   ipam.Count `json:"size"`
	Used   ipam.Count `json:"used"`
	Shared int        `json:"shared"`
	Free   ipam.Count `json:"free"`
	DHCP   bool       `json:"dhcp,omitempty"`
}

type holding struct {
	Address string `json:"address"`
	Service string `json:"service"`
	Pool    string `json:"pool"`
}

type conflict struct {
	Address  string   `json:"address"`
	Services []string `json:"services"`
	// Excluded is what an excluded address belongs to.
	Excluded string `json:"excluded,omitempty"`
}

func reportOf(v provider.View) report {
	r := report{Pools: []poolUse{}, Addresses: []holding{}, Without: append([]string{}, v.Without...), Conflicts: []conflict{}, Problems: []string{}}
	for _, s := range v.Allocator.Stats() {
		r.Pools = append(r.Pools, poolUse{Pool: s.Pool, Family: s.Family.String(), Size: s.Size, Used: s.Used, Shared: s.Shared, Free: s.Free, DHCP: s.DHCP})
	}
	for _, h := range v.Allocator.Holdings() {
		r.Addresses = append(r.Addresses, holding{Address: h.Addr.String(), Service: h.Owner, Pool: h.Pool})
	}
	for _, c := range v.Conflicts {
		r.Conflicts = append(r.Conflicts, conflict{Address: c.Addr.String(), Services: c.Owners, Excluded: c.By})
	}
	for _, p := range v.Problems {
		r.Problems = append(r.Problems, p.Error())
	}
	return r
}

func (r report) print(to io.Writer) error {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "POOL\tFAMILY\tSIZE\tUSED\tSHARED\tFREE")
	for _, p := range r.Pools {
		if p.DHCP {
			fmt.Fprintf(out, "%s\t%s\tDHCP\t%s\t-\t-\n", p.Pool, p.Family, p.Used)
			continue
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%s\n", p.Pool, p.Family, p.Size, p.Used, p.Shared, p.Free)
	}
	if len(r.Addresses) > 0 {
		fmt.Fprintln(out, "\nADDRESS\tPOOL\tSERVICE")
	}
	for _, h := range r.Addresses {
		pool := h.Pool
		if pool == "" {
			pool = "-"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\n", h.Address, pool, h.Service)
	}
	for _, owner := range r.Without {
		fmt.Fprintf(out, "-\t-\t%s\n", owner)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, c := range r.Conflicts {
		if c.Excluded != "" {
			fmt.Fprintf(to, "conflict: %s of %s is excluded: %s\n", c.Address, strings.Join(c.Services, ", "), c.Excluded)
			continue
		}
		fmt.Fprintf(to, "conflict: %s has more owners than it may: %s\n", c.Address, strings.Join(c.Services, ", "))
	}
	for _, p := range r.Problems {
		fmt.Fprintln(to, "wrong:", p)
	}
	return nil
}
