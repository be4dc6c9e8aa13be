package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"daymark/manifests"
)

func manifestCommand(sources func() Sources) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Print the Kubernetes objects that run the agent with the given settings",
		Long: `manifest prints YAML for what was set, by flags or by any other source: the settings become the environment of the
pod. It asks no cluster and changes nothing.`,
	}
	image := cmd.PersistentFlags().String("image", manifests.DefaultImage(version), "image of the agent, with its tag")
	pod := manifestKind(sources, "pod", "Print a static pod, for the kubelet's folder of manifests", func(l Loaded) ([]byte, error) {
		return manifests.Pod(l.agent(*image))
	})
	var taint bool
	set := manifestKind(sources, "daemonset", "Print a DaemonSet", func(l Loaded) ([]byte, error) {
		placement := manifests.AnyNode
		if taint {
			placement = manifests.ControlPlaneOnly
		}
		return manifests.DaemonSet(l.agent(*image), placement)
	})
	set.Flags().BoolVar(&taint, "taint", false, "run on control-plane nodes only, and tolerate their taints")
	cmd.AddCommand(pod, set, rbacCommand(sources))
	return cmd
}

func manifestKind(sources func() Sources, use, short string, make func(Loaded) ([]byte, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs, Annotations: takesSettings(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := Load(sources())
			if err := verdict(cmd.ErrOrStderr(), loaded, err); err != nil {
				return err
			}
			loaded.warnOfSecrets(cmd.ErrOrStderr())
			return write(cmd.OutOrStdout(), func() ([]byte, error) { return make(loaded) })
		},
	}
}

func rbacCommand(sources func() Sources) *cobra.Command {
	return &cobra.Command{
		Use: "rbac", Short: "Print the ServiceAccount with exactly the rights that the settings need; without any, those for everything",
		Args: cobra.NoArgs, Annotations: takesSettings(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := Load(sources())
			if len(loaded.Environment()) == 0 && !loaded.hasFile() {
				return write(cmd.OutOrStdout(), func() ([]byte, error) { return manifests.RBAC(allRights()) })
			}
			if err := verdict(cmd.ErrOrStderr(), loaded, err); err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), func() ([]byte, error) { return manifests.RBAC(loaded.Config.rights()) })
		},
	}
}

func write(w io.Writer, make func() ([]byte, error)) error {
	text, err := make()
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func (l Loaded) warnOfSecrets(w io.Writer) {
	for _, v := range l.Values {
		if v.setting.secret && v.explicit && v.Text != v.plain {
			fmt.Fprintf(w, "warning: %s holds a secret, which is in the manifest as plain text\n", v.Key)
		}
	}
}

// agent returns what the pod is made from.
func (l Loaded) agent(image string) manifests.Agent {
	c := l.Config
	var variables []manifests.EnvVar
	for _, e := range l.Environment() {
		variables = append(variables, manifests.EnvVar(e))
	}
	agent := manifests.Agent{
		Image: image, Namespace: c.Kubernetes.Namespace, Env: variables,
		InCluster: c.Kubernetes.InCluster, Kubeconfig: c.Kubernetes.File,
		Files: c.files(), Probe: c.HTTP.probe(),
	}
	if c.Mode == ModeBGP {
		agent.Drain = c.BGP.Speaker.Drain
	}
	return agent
}

// files returns the files of the node that settings name, beside the kubeconfig; sorted.
func (c Config) files() []string {
	files := []string{c.ControlPlane.Health.CAFile, c.Metal.ConfigFile}
	for _, p := range c.BGP.Speaker.Peers {
		files = append(files, p.PasswordFile)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	return slices.DeleteFunc(files, func(path string) bool { return path == "" })
}

// probe returns where /livez and /readyz are served; no port means nowhere.
func (h HTTP) probe() netip.AddrPort {
	host, port, err := net.SplitHostPort(h.Metrics)
	if err != nil { // off; anything else was refused
		return netip.AddrPortFrom(netip.Addr{}, h.HealthPort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPortFrom(netip.Addr{}, h.HealthPort)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, _ := netip.ParseAddr(host) // invalid is the node's own
	return netip.AddrPortFrom(addr, uint16(n))
}

// rights returns what an agent with this configuration needs.
func (c Config) rights() manifests.Rights {
	r := manifests.Rights{
		Namespace: c.Kubernetes.Namespace, Services: c.Services.Enabled, ServicesNamespace: c.Services.Namespace,
		LabelNodes: c.Services.LabelNodes, LeaseNamespaces: []string{c.Kubernetes.Namespace},
	}
	if c.ControlPlane.Enabled {
		r.LeaseNamespaces = append(r.LeaseNamespaces, c.Election.Lease.Namespace)
	}
	if c.Services.Enabled {
		r.LeaseNamespaces = append(r.LeaseNamespaces, c.Services.Lease.Namespace)
	}
	if c.Mode == ModeWireGuard {
		r.Secrets = append(r.Secrets, manifests.Secret{Namespace: c.Kubernetes.Namespace, Name: "wireguard"})
	}
	for _, p := range c.BGP.Speaker.Peers {
		if p.PasswordSecret != "" {
			ref := leaseRef(p.PasswordSecret, c.Kubernetes.Namespace)
			r.Secrets = append(r.Secrets, manifests.Secret(ref))
		}
	}
	return r
}

// allRights are those of an agent with every feature that needs no Secret.
func allRights() manifests.Rights {
	return manifests.Rights{Services: true, LabelNodes: true, LeaseNamespaces: []string{manifests.DefaultNamespace}}
}
