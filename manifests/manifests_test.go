package manifests_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"daymark/manifests"
)

var update = flag.Bool("update", false, "write the golden files")

func agent() manifests.Agent {
	return manifests.Agent{
		Image: "daymark:test",
		Env: []manifests.EnvVar{
			{Name: "vip_interface", Value: "eth0"}, {Name: "address", Value: "192.0.2.10"}, {Name: "prometheus_server", Value: ":2112"},
		},
		Probe: netip.AddrPortFrom(netip.Addr{}, 2112),
	}
}

func TestGoldens(t *testing.T) {
	inCluster := agent()
	inCluster.InCluster = true
	more := agent()
	more.Kubeconfig = "/etc/kubernetes/super-admin.conf"
	more.Files = []string{"/etc/daymark/bgp-password"}
	more.Probe = netip.MustParseAddrPort("127.0.0.1:9000")
	more.Drain = 1500 * time.Millisecond
	more.Env = append(more.Env, manifests.EnvVar{Name: "vip_nodename", Value: "n1"}, manifests.EnvVar{Name: "lb_class_name"})
	quiet := agent()
	quiet.Probe = netip.AddrPort{}
	rights := manifests.Rights{Services: true, LabelNodes: true, LeaseNamespaces: []string{"kube-system"}}
	narrow := manifests.Rights{
		Services: true, ServicesNamespace: "shop", LeaseNamespaces: []string{"leases", "kube-system"},
		Secrets: []manifests.Secret{{Namespace: "kube-system", Name: "wireguard"}, {Namespace: "kube-system", Name: "bgp"}},
	}
	ccm := manifests.CCM{Image: "daymark:test"}
	bgpCCM := manifests.CCM{
		Image: "daymark:test", Namespace: "lb", Replicas: 1, Args: []string{"--v=2"}, CloudConfig: "metal-cloud-config",
		Env:     []manifests.EnvVar{{Name: "KUBEVIP_CONFIG_MAP", Value: "pools"}},
		Secrets: []manifests.Secret{{Namespace: "lb", Name: "bgp"}}, ConfigMap: "pools", ConfigMapNamespace: "lb",
		Pools: map[string]string{"range-global": "192.0.2.100-192.0.2.199", "cidr-default": "192.0.2.200/29"},
	}
	metalCCM := manifests.CCM{Image: "daymark:test", CloudProvider: "equinixmetal", CloudConfig: "metal-cloud-config"}
	for name, make := range map[string]func() ([]byte, error){
		"pod":                     func() ([]byte, error) { return manifests.Pod(agent()) },
		"pod-options":             func() ([]byte, error) { return manifests.Pod(more) },
		"daemonset":               func() ([]byte, error) { return manifests.DaemonSet(inCluster, manifests.AnyNode) },
		"daemonset-control-plane": func() ([]byte, error) { return manifests.DaemonSet(quiet, manifests.ControlPlaneOnly) },
		"rbac":                    func() ([]byte, error) { return manifests.RBAC(rights) },
		"rbac-control-plane": func() ([]byte, error) {
			return manifests.RBAC(manifests.Rights{LeaseNamespaces: []string{"kube-system"}})
		},
		"rbac-narrow": func() ([]byte, error) { return manifests.RBAC(narrow) },
		"ccm":         func() ([]byte, error) { return manifests.CloudControllerManager(ccm) },
		"ccm-equinix": func() ([]byte, error) { return manifests.CloudControllerManager(metalCCM) },
		"ccm-bgp":     func() ([]byte, error) { return manifests.CloudControllerManager(bgpCCM) },
	} {
		t.Run(name, func(t *testing.T) {
			got, err := make()
			if err != nil {
				t.Fatal(err)
			}
			decodeStrictly(t, got)
			golden(t, filepath.Join("testdata", name+".yaml"), got)
		})
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

// decodeStrictly decodes every document into its type as the API server's strict decoding does: no unknown field, no
// duplicate. Encoding what came out gives the document again.
func decodeStrictly(t *testing.T, text []byte) []any {
	t.Helper()
	var out []any
	for document := range bytes.SplitSeq(text, []byte("---\n")) {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatal(err)
		}
		object := empty(meta.APIVersion + " " + meta.Kind)
		if object == nil {
			t.Fatalf("unexpected kind %v", meta)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Fatalf("%v: %v", meta, err)
		}
		out = append(out, object)
	}
	return out
}

func empty(kind string) any {
	switch kind {
	case "v1 Pod":
		return &corev1.Pod{}
	case "apps/v1 DaemonSet":
		return &appsv1.DaemonSet{}
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "rbac.authorization.k8s.io/v1 ClusterRole":
		return &rbacv1.ClusterRole{}
	case "rbac.authorization.k8s.io/v1 ClusterRoleBinding":
		return &rbacv1.ClusterRoleBinding{}
	case "rbac.authorization.k8s.io/v1 Role":
		return &rbacv1.Role{}
	case "rbac.authorization.k8s.io/v1 RoleBinding":
		return &rbacv1.RoleBinding{}
	}
	return nil
}

func TestNamesOfTheContract(t *testing.T) {
	a := agent()
	pod := one[*corev1.Pod](t, must(manifests.Pod(a)))
	a.InCluster = true
	ds := one[*appsv1.DaemonSet](t, must(manifests.DaemonSet(a, manifests.AnyNode)))
	if pod.Name != "kube-vip" || pod.Namespace != "kube-system" || pod.Spec.Containers[0].Name != "kube-vip" {
		t.Errorf("pod %s/%s, container %s", pod.Namespace, pod.Name, pod.Spec.Containers[0].Name)
	}
	if ds.Name != "kube-vip-ds" || ds.Spec.Template.Spec.ServiceAccountName != "kube-vip" {
		t.Errorf("DaemonSet %s, ServiceAccount %s", ds.Name, ds.Spec.Template.Spec.ServiceAccountName)
	}
	for _, labels := range []map[string]string{pod.Labels, ds.Spec.Template.Labels, ds.Spec.Selector.MatchLabels} {
		if labels["app.kubernetes.io/name"] != "kube-vip" {
			t.Errorf("labels %v", labels)
		}
	}
	c := pod.Spec.Containers[0]
	if !slices.Equal(c.Args, []string{"manager"}) || len(c.Command) > 0 {
		t.Errorf("command %q, args %q", c.Command, c.Args)
	}
	if !slices.Equal(c.SecurityContext.Capabilities.Add, []corev1.Capability{"NET_ADMIN", "NET_RAW"}) {
		t.Errorf("capabilities %v", c.SecurityContext.Capabilities.Add)
	}
	if !pod.Spec.HostNetwork || pod.Spec.HostAliases[0].Hostnames[0] != "kubernetes" || pod.Spec.Volumes[0].Name != "kubeconfig" {
		t.Error("a static pod reaches its API server by host network, host alias and volume kubeconfig")
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func one[T any](t *testing.T, text []byte) T {
	t.Helper()
	for _, o := range decodeStrictly(t, text) {
		if v, ok := o.(T); ok {
			return v
		}
	}
	t.Fatal("no such object")
	panic("unreachable")
}

func TestRefusesWhatCannotBeMounted(t *testing.T) {
	_, err := manifests.Pod(manifests.Agent{Kubeconfig: "admin.conf", Files: []string{"", "x"}})
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("want four problems, got %v", err)
	}
}

// TestDefaultImage: both programs of one build name the same image.
func TestDefaultImage(t *testing.T) {
	for version, want := range map[string]string{"": "daymark:latest", "v1.2.3": "daymark:v1.2.3"} {
		if got := manifests.DefaultImage(version); got != want {
			t.Errorf("%q: %s", version, got)
		}
	}
}
