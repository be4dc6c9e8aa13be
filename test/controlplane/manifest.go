package controlplane

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"daymark/test/netns"
)

// Run says what a manifest leaves open.
type Run struct {
	// Program is the path of the file that the image would start.
	Program string
	// Env is added to the manifest's environment, "KEY=value" each, and wins.
	Env []string
	// Account is the pod's ServiceAccount, for programs that find the API server as
	// every pod does. Without a token the pod has none, as a static pod.
	Account Identity
}

const accountDir = "/run/secrets/kubernetes.io/serviceaccount"

// RunManifest does for the first Pod, DaemonSet or Deployment of a YAML stream what a
// kubelet would do on this node, as far as it matters to a pod in the host's
// network: it runs the one container's command with its environment, capabilities,
// host aliases and hostPath volumes. Decoding is strict. Probes, resources and
// everything else are not looked at, and nothing is restarted.
func (n *Node) RunManifest(manifest []byte, run Run) (*netns.Command, error) {
	meta, spec, err := decodePod(manifest)
	if err != nil {
		return nil, err
	}
	if !spec.HostNetwork || len(spec.Containers) != 1 || len(spec.InitContainers) > 0 {
		return nil, fmt.Errorf("pod %s: only one container in the host's network can be run here", meta.Name)
	}
	container := spec.Containers[0]
	env, err := n.environment(meta, spec, container)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", meta.Name, err)
	}
	var script strings.Builder
	script.WriteString("set -e\n")
	if err := errors.Join(
		n.mountVolumes(&script, spec, container),
		n.mountHosts(&script, meta, spec),
		n.mountAccount(&script, meta, run.Account),
	); err != nil {
		return nil, fmt.Errorf("pod %s: %w", meta.Name, err)
	}
	if run.Account.Token != "" {
		env = append(env, "KUBERNETES_SERVICE_HOST="+ServiceCIDRs[0].Addr().Next().String(), "KUBERNETES_SERVICE_PORT=443")
	}
	fmt.Fprintf(&script, "exec setpriv --bounding-set %s \"$@\"\n", capabilities(container))
	args := append([]string{"unshare", "--mount", "sh", "-c", script.String(), "pod", run.Program}, words(container)...)
	c := n.Command(args...)
	c.Label = container.Name
	c.Env = append(env, run.Env...)
	return c, c.Start()
}

// words are the container's command line after the program.
func words(c corev1.Container) []string {
	if len(c.Command) > 0 {
		return append(slices.Clone(c.Command[1:]), c.Args...)
	}
	return c.Args
}

func decodePod(manifest []byte) (metav1.ObjectMeta, corev1.PodSpec, error) {
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return metav1.ObjectMeta{}, corev1.PodSpec{}, errors.New("no Pod, DaemonSet or Deployment among the manifests")
		}
		if err != nil {
			return metav1.ObjectMeta{}, corev1.PodSpec{}, fmt.Errorf("reading manifests: %w", err)
		}
		var kind metav1.TypeMeta
		if err := sigsyaml.Unmarshal(document, &kind); err != nil {
			return metav1.ObjectMeta{}, corev1.PodSpec{}, fmt.Errorf("decoding manifests: %w", err)
		}
		switch kind.APIVersion + " " + kind.Kind {
		case "v1 Pod":
			var pod corev1.Pod
			err := sigsyaml.UnmarshalStrict(document, &pod)
			return pod.ObjectMeta, pod.Spec, err
		case "apps/v1 DaemonSet":
			var set appsv1.DaemonSet
			err := sigsyaml.UnmarshalStrict(document, &set)
			return set.ObjectMeta, set.Spec.Template.Spec, err
		case "apps/v1 Deployment":
			var deployment appsv1.Deployment
			err := sigsyaml.UnmarshalStrict(document, &deployment)
			return deployment.ObjectMeta, deployment.Spec.Template.Spec, err
		}
	}
}

// environment resolves the container's variables, downward API included.
func (n *Node) environment(meta metav1.ObjectMeta, spec corev1.PodSpec, c corev1.Container) (env []string, err error) {
	fields := map[string]string{
		"spec.nodeName": n.Name(), "spec.serviceAccountName": spec.ServiceAccountName,
		"metadata.name": meta.Name + "-" + n.Name(), "metadata.namespace": namespaceOf(meta),
		"status.hostIP": n.Addr().String(), "status.podIP": n.Addr().String(),
	}
	var errs []error
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			ref := e.ValueFrom.FieldRef
			if ref == nil {
				errs = append(errs, fmt.Errorf("variable %s: only fieldRef can be resolved here", e.Name))
				continue
			}
			known := false
			if value, known = fields[ref.FieldPath]; !known {
				errs = append(errs, fmt.Errorf("variable %s: unknown field %q", e.Name, ref.FieldPath))
			}
		}
		env = append(env, e.Name+"="+value)
	}
	if len(c.EnvFrom) > 0 {
		errs = append(errs, errors.New("envFrom cannot be resolved here"))
	}
	return env, errors.Join(errs...)
}

func namespaceOf(meta metav1.ObjectMeta) string {
	if meta.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return meta.Namespace
}

// mountVolumes binds hostPath volumes that are mounted elsewhere than on the host,
// and insists that the others' files are there.
func (n *Node) mountVolumes(script *strings.Builder, spec corev1.PodSpec, c corev1.Container) error {
	var errs []error
	for _, mount := range c.VolumeMounts {
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("mount %s: no such volume", mount.Name))
		case spec.Volumes[i].HostPath == nil:
			errs = append(errs, fmt.Errorf("volume %s: only hostPath can be mounted here", mount.Name))
		default:
			source := spec.Volumes[i].HostPath.Path
			fmt.Fprintf(script, "test -e %[1]s || { echo \"no %[1]s on this host\" >&2; exit 1; }\n", quote(source))
			if source != mount.MountPath {
				fmt.Fprintf(script, "test -d %[1]s && mkdir -p %[2]s || { mkdir -p $(dirname %[2]s); test -e %[2]s || touch %[2]s; }\nmount --bind %[1]s %[2]s\n", quote(source), quote(mount.MountPath))
			}
		}
	}
	return errors.Join(errs...)
}

// mountHosts gives a pod with host aliases an /etc/hosts of its own.
func (n *Node) mountHosts(script *strings.Builder, meta metav1.ObjectMeta, spec corev1.PodSpec) error {
	if len(spec.HostAliases) == 0 {
		return nil
	}
	text := "127.0.0.1 localhost\n::1 localhost\n"
	for _, alias := range spec.HostAliases {
		if _, err := netip.ParseAddr(alias.IP); err != nil {
			return fmt.Errorf("host alias: %w", err)
		}
		text += alias.IP + " " + strings.Join(alias.Hostnames, " ") + "\n"
	}
	file, err := n.file("hosts-" + meta.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(script, "test -e /etc/hosts || touch /etc/hosts\nmount --bind %s /etc/hosts\n", quote(file))
	return os.WriteFile(file, []byte(text), 0o644)
}

// mountAccount puts a ServiceAccount's files where every pod finds them.
func (n *Node) mountAccount(script *strings.Builder, meta metav1.ObjectMeta, account Identity) error {
	if account.Token == "" {
		return nil
	}
	dir, err := n.file("account-" + meta.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(script, "mkdir -p %[2]s\nmount --bind %[1]s %[2]s\n", quote(dir), accountDir)
	errs := []error{os.MkdirAll(dir, 0o755)}
	for name, data := range map[string][]byte{
		"token": []byte(account.Token), "ca.crt": n.cluster.ca.pem, "namespace": []byte(namespaceOf(meta)),
	} {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	return errors.Join(errs...)
}

// capabilities are what setpriv is to leave in the bounding set, which is all that
// root gets in a program it starts.
func capabilities(c corev1.Container) string {
	if c.SecurityContext == nil || c.SecurityContext.Capabilities == nil || c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
		return "+all"
	}
	set := []string{}
	for _, dropped := range c.SecurityContext.Capabilities.Drop {
		set = append(set, "-"+strings.ToLower(string(dropped)))
	}
	for _, added := range c.SecurityContext.Capabilities.Add {
		set = append(set, "+"+strings.ToLower(string(added)))
	}
	if len(set) == 0 {
		return "+all"
	}
	return strings.Join(set, ",")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
