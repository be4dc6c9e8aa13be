package controlplane

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"daymark/test/netns"
)

// StaticPod starts the only container of a static pod's manifest as the node's kubelet would, as far as a bed can: its arguments and
// environment, the node's network, its hostAliases in /etc/hosts, and only if the files that it mounts are there. The program stands for
// the image's entry point. Whoever wants it restarted starts it again.
func (n *Node) StaticPod(manifest []byte, program string) (*netns.Command, error) {
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(manifest, &pod); err != nil {
		return nil, fmt.Errorf("reading the manifest of a static pod: %w", err)
	}
	if !pod.Spec.HostNetwork || len(pod.Spec.Containers) != 1 {
		return nil, fmt.Errorf("pod %s: want one container in the host's network", pod.Name)
	}
	container := pod.Spec.Containers[0]
	if err := errors.Join(n.mounts(pod.Spec.Volumes), n.aliases(pod.Spec.HostAliases)); err != nil {
		return nil, fmt.Errorf("pod %s: %w", pod.Name, err)
	}
	c := n.Command(slices.Concat([]string{program}, container.Command, container.Args)...)
	c.Label = pod.Name
	for _, e := range container.Env {
		value := e.Value
		if e.ValueFrom != nil {
			if e.ValueFrom.FieldRef == nil || e.ValueFrom.FieldRef.FieldPath != "spec.nodeName" {
				return nil, fmt.Errorf("pod %s: variable %s comes from something that a bed hasn't", pod.Name, e.Name)
			}
			value = n.Name()
		}
		c.Env = append(c.Env, e.Name+"="+value)
	}
	return c, c.Start()
}

// mounts checks that the files that are to be mounted are there.
func (n *Node) mounts(volumes []corev1.Volume) error {
	return n.Do(func() error {
		for _, v := range volumes {
			if v.HostPath == nil {
				continue
			}
			if _, err := os.Stat(v.HostPath.Path); err != nil {
				return fmt.Errorf("volume %s: %w", v.Name, err)
			}
		}
		return nil
	})
}

func (n *Node) aliases(aliases []corev1.HostAlias) error {
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for _, a := range aliases {
		hosts += a.IP + " " + strings.Join(a.Hostnames, " ") + "\n"
	}
	return n.WriteFile("/etc/hosts", []byte(hosts))
}
