// Package manifests applies what the programs print to a real API server, and runs them with exactly the rights in it.
package manifests_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }

// bed is an API server and the two programs.
type bed struct {
	*controlplane.Single
	here     *netns.Host
	vip, ccm string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	set := controlplane.Programs(t)
	lab := netns.Test(t)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "daymark/cmd/vip", "daymark/cmd/ccm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return &bed{
		Single: require.Value(controlplane.NewSingle(ctx, lab, set))(t), here: require.Value(lab.Here())(t),
		vip: filepath.Join(dir, "vip"), ccm: filepath.Join(dir, "ccm"),
	}
}

// apply applies what a program prints, as strictly as the API server can.
func (b *bed) apply(t *testing.T, args ...string) {
	t.Helper()
	text := require.Value(b.here.Run(t.Context(), args...))(t)
	if err := controlplane.Apply(t.Context(), b.Config, text); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args[1:], " "), err, text)
	}
}

func TestManifests(t *testing.T) {
	b := newBed(t)
	t.Run("strict", b.strict)
	t.Run("rights of the agent", b.agentRights)
	t.Run("rights of the controller", b.controllerRights)
	t.Run("controller works with its rights", b.controllerWorks)
	t.Run("rights of a vendor's controller", b.vendorRights)
}

func (b *bed) strict(t *testing.T) {
	arp := []string{"--controlplane", "--services", "--arp", "--address", "192.0.2.10", "--interface", "eth0", "--k8sConfigPath", "/etc/k.conf"}
	bgp := []string{"--inCluster", "--taint", "--services", "--bgp", "--bgppeers", "192.0.2.1:65000::::::passwordfile=/etc/pw", "--healthCheckPort", "8080", "--prometheusHTTPServer="}
	b.apply(t, append([]string{b.vip, "manifest", "pod"}, arp...)...)
	b.apply(t, append([]string{b.vip, "manifest", "daemonset"}, bgp...)...)
	b.apply(t, b.ccm, "manifest", "--pool", "cidr-global=192.0.2.0/24", "--cloud-config-secret", "metal-cloud-config", "--", "--v=2")
	// What a user applies a second time, or over what another version made, must be applicable too.
	b.apply(t, append([]string{b.vip, "manifest", "pod"}, arp...)...)
}

// access is one question to the API server's authorizer.
type access struct{ verb, group, resource, sub, namespace, name string }

func (a access) String() string {
	return fmt.Sprintf("%s %s.%s/%s %s/%s", a.verb, a.resource, a.group, a.sub, a.namespace, a.name)
}

// check asks whether a ServiceAccount may do what it must, and may not do what it mustn't.
func (b *bed) check(t *testing.T, account string, want bool, all []access) {
	t.Helper()
	for _, a := range all {
		review := &authv1.SubjectAccessReview{Spec: authv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:kube-system:" + account, Groups: []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &authv1.ResourceAttributes{
				Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.sub, Namespace: a.namespace, Name: a.name,
			},
		}}
		got := require.Value(b.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{}))(t)
		if got.Status.Allowed != want {
			t.Errorf("%s: allowed is %v, want %v", a, got.Status.Allowed, want)
		}
	}
}

func (b *bed) agentRights(t *testing.T) {
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	require.Value(b.Client.CoreV1().Namespaces().Create(t.Context(), other, metav1.CreateOptions{}))(t)
	b.apply(t, b.vip, "manifest", "rbac", "--services", "--controlplane", "--address", "192.0.2.10", "--bgp", "--enableNodeLabeling",
		"--leaseName", "other/plndr-cp-lock", "--bgppeers", "192.0.2.1:65000::::::secret=bgp")
	b.check(t, "kube-vip", true, []access{
		{"watch", "", "services", "", "shop", ""},
		{"patch", "", "services", "status", "shop", "web"},
		{"watch", "discovery.k8s.io", "endpointslices", "", "", ""},
		{"watch", "networking.k8s.io", "servicecidrs", "", "", ""},
		{"get", "", "configmaps", "", "kube-public", "cluster-info"},
		{"patch", "", "nodes", "", "", "n1"},
		{"create", "", "events", "", "shop", ""},
		{"update", "coordination.k8s.io", "leases", "", "kube-system", "kube-vip-cp"},
		{"create", "coordination.k8s.io", "leases", "", "other", ""},
		{"list", "", "secrets", "", "kube-system", "bgp"},
		{"watch", "", "secrets", "", "kube-system", "bgp"},
	})
	b.check(t, "kube-vip", false, []access{
		{"patch", "", "services", "", "shop", "web"},
		{"delete", "", "services", "", "shop", "web"},
		{"create", "", "services", "", "shop", ""},
		{"patch", "", "nodes", "status", "", "n1"},
		{"update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"},
		{"get", "", "secrets", "", "kube-system", "other"},
		{"list", "", "secrets", "", "kube-system", ""},
		{"get", "", "configmaps", "", "kube-system", "kubevip"},
		{"list", "", "configmaps", "", "kube-public", ""},
		{"list", "", "pods", "", "", ""},
	})
}

func (b *bed) controllerRights(t *testing.T) {
	b.check(t, "kube-vip-cloud-controller", true, []access{
		{"patch", "", "services", "", "shop", "web"},
		{"watch", "", "configmaps", "", "kube-system", "kubevip"},
		{"update", "coordination.k8s.io", "leases", "", "kube-system", "kube-vip-cloud-controller"},
		{"patch", "", "nodes", "", "", "n1"},
	})
	b.check(t, "kube-vip-cloud-controller", false, []access{
		{"delete", "", "services", "", "shop", "web"},
		{"watch", "", "configmaps", "", "kube-system", ""},
		{"update", "", "configmaps", "", "kube-system", "kubevip"},
		{"get", "", "secrets", "", "kube-system", "metal-cloud-config"},
		{"update", "coordination.k8s.io", "leases", "", "other", "kube-vip-cloud-controller"},
	})
}

// vendorRights applies the manifest for a vendor over the other one.
func (b *bed) vendorRights(t *testing.T) {
	b.apply(t, b.ccm, "manifest", "--cloud-provider", "equinixmetal", "--cloud-config-secret", "metal-cloud-config", "--", "--v=2")
	b.check(t, "kube-vip-cloud-controller", true, []access{
		{"patch", "", "services", "", "shop", "web"},
		{"update", "", "nodes", "", "", "n1"},
		{"patch", "", "nodes", "status", "", "n1"},
		{"delete", "", "nodes", "", "", "n1"},
		{"get", "", "namespaces", "", "", "kube-system"},
	})
	b.check(t, "kube-vip-cloud-controller", false, []access{
		{"get", "", "namespaces", "", "", "other"},
		{"create", "", "nodes", "", "", "n1"},
		{"get", "", "secrets", "", "kube-system", "metal-cloud-config"},
		{"patch", "", "services", "status", "shop", "web"},
	})
}

// controllerWorks gives a Service an address with the rights in `ccm manifest` and no others.
func (b *bed) controllerWorks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b.apply(t, b.ccm, "manifest", "--pool", "cidr-global=192.0.2.0/24")
	account := require.Value(controlplane.ServiceAccount(ctx, b.Client, "kube-system", "kube-vip-cloud-controller"))(t)
	kubeconfig := require.Value(b.WriteKubeconfig(account))(t)
	c := b.here.Command(b.ccm, "--kubeconfig="+kubeconfig, "--secure-port=0", "--leader-elect-resource-name=kube-vip-cloud-controller")
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Kill() })

	services := b.Client.CoreV1().Services("default")
	require.Value(services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}))(t)
	svc, err := controlplane.Await(ctx, services, "web", func(s *corev1.Service) bool { return s.Annotations[annotations.LoadBalancerIPs] != "" })
	log := string(require.Value(os.ReadFile(c.Log()))(t))
	if err != nil {
		t.Fatalf("no address: %v\n%s", err, log)
	}
	if got := svc.Annotations[annotations.LoadBalancerIPs]; got != "192.0.2.1" {
		t.Errorf("address %s", got)
	}
	require.NoError(t, services.Delete(ctx, "web", metav1.DeleteOptions{}))
	require.NoError(t, controlplane.AwaitGone(ctx, services, "web"))
	log = string(require.Value(os.ReadFile(c.Log()))(t))
	for line := range strings.Lines(log) {
		if strings.Contains(strings.ToLower(line), "forbidden") {
			t.Error(line)
		}
	}
}
