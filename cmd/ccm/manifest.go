package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"daymark/annotations"
	"daymark/manifests"
	"daymark/provider/equinix"
)

// newManifestCommand prints the objects that run this program with the settings of its flags and environment.
func newManifestCommand(s *settings) *cobra.Command {
	c := manifests.CCM{}
	var provider string
	var pools, secrets []string
	cmd := &cobra.Command{
		Use:   "manifest [flags] [-- flag...]",
		Short: "Print the Kubernetes objects that run the cloud-controller-manager; what stands behind -- becomes its flags",
		Example: `  ccm manifest --pool range-global=192.0.2.100-192.0.2.199 | kubectl apply -f -
  ccm manifest --cloud-provider equinixmetal --cloud-config-secret metal-cloud-config -- --v=2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch provider {
			case cloudPools, cloudPoolsLegacy:
			case equinix.ProviderName:
				c.CloudProvider = provider
			default:
				return fmt.Errorf("--cloud-provider=%s: use %s or %s", provider, cloudPools, equinix.ProviderName)
			}
			c.Args, c.Env = args, s.environment()
			c.ConfigMap, c.ConfigMapNamespace = s.ConfigMap, s.Namespace
			c.Pools = map[string]string{}
			for _, p := range pools {
				key, value, ok := strings.Cut(p, "=")
				if !ok {
					return fmt.Errorf("--pool %q: not key=value, such as cidr-global=192.0.2.0/24", p)
				}
				c.Pools[key] = value
			}
			for _, name := range secrets {
				namespace, name, ok := strings.Cut(name, "/")
				if !ok {
					return fmt.Errorf("--secret %q: not namespace/name", namespace)
				}
				c.Secrets = append(c.Secrets, manifests.Secret{Namespace: namespace, Name: name})
			}
			text, err := manifests.CloudControllerManager(c)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	flags := cmd.Flags()
	s.addFlags(flags)
	flags.StringVar(&c.Image, "image", manifests.DefaultImage(version), "Image of the program, with its tag.")
	flags.StringVar(&c.Namespace, "namespace", manifests.DefaultNamespace, "Namespace that it runs in.")
	flags.Int32Var(&c.Replicas, "replicas", 2, "How many run; one works, the others stand by.")
	flags.StringVar(&provider, "cloud-provider", cloudPools, "Where addresses come from: "+cloudPools+" (pools) or "+equinix.ProviderName+".")
	flags.StringVar(&c.CloudConfig, "cloud-config-secret", "", "Secret with the cloud's configuration under key cloud-sa.json.")
	flags.StringArrayVar(&secrets, "secret", nil, "Secret namespace/name that the program may read, such as a BGP password; may be repeated.")
	flags.StringArrayVar(&pools, "pool", nil, "Line key=value of the ConfigMap with the pools; may be repeated. Without one the ConfigMap isn't printed.")
	return cmd
}

// environment returns the variables that make these settings, in order: those that differ from the default.
func (s *settings) environment() []manifests.EnvVar {
	var out []manifests.EnvVar
	add := func(name, value, fallback string) {
		if value != fallback {
			out = append(out, manifests.EnvVar{Name: name, Value: value})
		}
	}
	add(envNamespace, s.Namespace, "kube-system")
	add(envConfigMap, s.ConfigMap, "kubevip")
	add(envClassEnabled, fmt.Sprint(s.ClassEnabled), "false")
	add(envClass, s.Class, annotations.DefaultClass)
	return out
}
