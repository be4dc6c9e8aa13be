package pools_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"daymark/annotations"
	"daymark/test/require"
)

// TestAdmission applies manifests/admission.yaml and lets a tenant try.
func TestAdmission(t *testing.T) {
	b := newBed(t)
	b.namespace(t, "shop")
	b.namespace(t, "elsewhere")
	b.pools(t, map[string]string{
		"cidr-shop":    "198.18.1.5/24, fd00:1::/64",
		"range-shop":   "198.18.2.9-198.18.2.100",
		"range-global": "198.18.3.1-198.18.3.9,fd00:3::1-fd00:3::9",
	})
	b.admission(t)
	tenant := b.tenant(t, "shop", "elsewhere")
	try := func(namespace string, svc *corev1.Service) error {
		_, err := tenant.CoreV1().Services(namespace).Create(t.Context(), svc, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	asks := func(value string) *corev1.Service {
		return service("asks", annotate(annotations.LoadBalancerIPs, value))
	}
	field := func(value string) *corev1.Service {
		return service("asks", func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = value })
	}
	awaitRefusal(t, "in no pool", func() error { return try("shop", asks("192.0.2.1")) })
	awaitRefusal(t, "into the host", func() error { return try("shop", service("host", annotate(annotations.ServiceInterface, "eth0"))) })

	for _, ok := range []struct {
		namespace string
		svc       *corev1.Service
	}{
		{"shop", service("plain")},
		{"shop", asks("198.18.1.77")}, {"shop", asks("198.18.2.9")}, {"shop", asks("198.18.2.100")}, {"shop", asks("198.18.1.1, fd00:1::7")},
		{"shop", field("198.18.2.50")},
		{"elsewhere", asks("198.18.3.9")}, {"elsewhere", asks("fd00:3::5")},
		{"shop", service("other", annotate(annotations.AllowReconcileWithoutEndpoints, "true"))},
		{"shop", service("not", annotate(annotations.LoadBalancerIPs, "192.0.2.1"), func(svc *corev1.Service) {
			svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, nil
		})},
	} {
		if err := try(ok.namespace, ok.svc); err != nil {
			t.Errorf("%s %v %q: %v", ok.namespace, ok.svc.Annotations, ok.svc.Spec.LoadBalancerIP, err)
		}
	}
	for _, bad := range []struct {
		namespace string
		svc       *corev1.Service
		names     string
	}{
		{"shop", asks("198.18.2.101"), "198.18.2.101"}, {"shop", asks("198.18.2.8"), "198.18.2.8"}, {"shop", asks("198.18.20.10"), "198.18.20.10"},
		{"shop", asks("198.18.1.1,192.0.2.1"), "192.0.2.1"}, {"shop", asks("198.18.3.5"), "198.18.3.5"}, {"shop", asks("fd00:2::1"), "fd00:2::1"},
		{"shop", asks("0.0.0.0"), "0.0.0.0"}, {"shop", asks("db.example.org"), "db.example.org"}, {"shop", field("192.0.2.1"), "192.0.2.1"},
		{"elsewhere", asks("198.18.1.1"), "198.18.1.1"},
		{"shop", service("host", annotate(annotations.ServiceInterface, "eth0")), annotations.ServiceInterface},
		{"shop", service("host", annotate(annotations.ServiceVLAN, "eth0.7")), annotations.ServiceVLAN},
		{"shop", service("host", annotate(annotations.MACVLANName, "x")), annotations.MACVLANName},
		{"shop", service("host", annotate(annotations.RPFilter, "0")), annotations.RPFilter},
		{"shop", service("host", annotate(annotations.HardwareAddress, "02:00:00:00:00:01")), annotations.HardwareAddress},
		{"shop", service("host", annotate(annotations.LeaseName, "kube-vip-cp")), annotations.LeaseName},
	} {
		if err := try(bad.namespace, bad.svc); err == nil || !strings.Contains(err.Error(), bad.names) {
			t.Errorf("%s %v %q: %v", bad.namespace, bad.svc.Annotations, bad.svc.Spec.LoadBalancerIP, err)
		}
	}
	t.Run("what is there already may be edited, but not moved", func(t *testing.T) {
		old := service("old", annotate(annotations.LoadBalancerIPs, "192.0.2.1"), annotate(annotations.ServiceInterface, "eth0"))
		require.Value(b.client.CoreV1().Services("shop").Create(t.Context(), old, metav1.CreateOptions{}))(t)
		svc := require.Value(tenant.CoreV1().Services("shop").Get(t.Context(), "old", metav1.GetOptions{}))(t)
		svc.Spec.Ports[0].Port = 81
		svc = require.Value(tenant.CoreV1().Services("shop").Update(t.Context(), svc, metav1.UpdateOptions{}))(t)
		svc.Annotations[annotations.LoadBalancerIPs] = "192.0.2.2"
		if _, err := tenant.CoreV1().Services("shop").Update(t.Context(), svc, metav1.UpdateOptions{}); err == nil {
			t.Error("it moved")
		}
	})
	t.Run("what becomes a load balancer is judged", func(t *testing.T) {
		plain := service("plain", clusterIP, annotate(annotations.LoadBalancerIPs, "192.0.2.3"))
		svc := require.Value(tenant.CoreV1().Services("shop").Create(t.Context(), plain, metav1.CreateOptions{}))(t)
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		if _, err := tenant.CoreV1().Services("shop").Update(t.Context(), svc, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "192.0.2.3") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the ccm writes what tenants may not, and they go on editing", func(t *testing.T) {
		b.edit(t, map[string]string{"interface-shop": "eth7"})
		b.alone(t, b.manifest(t))
		require.Value(tenant.CoreV1().Services("shop").Create(t.Context(), service("served"), metav1.CreateOptions{}))(t)
		svc := b.await(t, "shop", "served", has("198.18.1.1"))
		if link := svc.Annotations[annotations.ServiceInterface]; link != "eth7" {
			t.Errorf("on link %q", link)
		}
		svc.Spec.Ports[0].Port = 81
		require.Value(tenant.CoreV1().Services("shop").Update(t.Context(), svc, metav1.UpdateOptions{}))(t)
	})
	t.Run("programs that serve are left out by their ServiceAccounts, kube-vip's, its cloud-provider's and the Equinix CCM's", func(t *testing.T) {
		for account, may := range map[string]bool{
			"kube-system:kube-vip": true, "kube-system:kube-vip-cloud-controller": true, "kube-system:cloud-controller-manager": true,
			"shop:cloud-controller-manager": false, "kube-system:default": false,
		} {
			config := rest.CopyConfig(b.Config)
			config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + account, Groups: []string{tenants}}
			client := require.Value(kubernetes.NewForConfig(config))(t)
			for _, svc := range []*corev1.Service{asks("192.0.2.1"), service("host", annotate(annotations.ServiceInterface, "eth0"))} {
				_, err := client.CoreV1().Services("shop").Create(t.Context(), svc, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if may && err != nil || !may && (err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy")) {
					t.Errorf("%s, %v: %v", account, svc.Annotations, err)
				}
			}
		}
	})
	t.Run("who is allowed more", func(t *testing.T) {
		b.allow(t, "shop", rbacv1.PolicyRule{APIGroups: []string{"kube-vip.io"}, Resources: []string{"addresses"}, Verbs: []string{"request"}})
		b.allow(t, "shop", rbacv1.PolicyRule{APIGroups: []string{"kube-vip.io"}, Resources: []string{"hostannotations"}, Verbs: []string{"set"}})
		awaitSuccess(t, func() error { return try("shop", asks("192.0.2.1")) })
		awaitSuccess(t, func() error { return try("shop", service("host", annotate(annotations.ServiceInterface, "eth0"))) })
	})
}

// admission applies the policies.
func (b *bed) admission(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "manifests", "admission.yaml"))
	require.NoError(t, err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	policies := b.client.AdmissionregistrationV1()
	for {
		var raw runtime.RawExtension
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw.Raw, nil, nil)
		require.NoError(t, err)
		switch o := object.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			_, err = policies.ValidatingAdmissionPolicies().Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			_, err = policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		default:
			t.Fatalf("a %T", o)
		}
		require.NoError(t, err)
	}
}

// tenants is the group of whom [bed.allow] allows something.
const tenants = "tenants"

// tenant returns a client of a user who may edit Services in namespaces.
func (b *bed) tenant(t testing.TB, namespaces ...string) kubernetes.Interface {
	t.Helper()
	for _, namespace := range namespaces {
		b.allow(t, namespace, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"*"}})
	}
	return require.Value(kubernetes.NewForConfig(require.Value(b.User("tenant", tenants))(t)))(t)
}

// allow lets tenants do more in a namespace.
func (b *bed) allow(t testing.TB, namespace string, rule rbacv1.PolicyRule) {
	t.Helper()
	role := require.Value(b.client.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"}, Rules: []rbacv1.PolicyRule{rule},
	}, metav1.CreateOptions{}))(t)
	require.Value(b.client.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: tenants}},
	}, metav1.CreateOptions{}))(t)
}

// awaitRefusal waits until the policies are in force, which takes the API server a moment, and rights are known.
func awaitRefusal(t testing.TB, text string, try func() error) {
	t.Helper()
	awaitOutcome(t, try, func(err error) bool { return err != nil && strings.Contains(err.Error(), text) })
}

func awaitSuccess(t testing.TB, try func() error) {
	t.Helper()
	awaitOutcome(t, try, func(err error) bool { return err == nil })
}

func awaitOutcome(t testing.TB, try func() error, want func(error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := try()
		if want(err) {
			return
		}
		again := time.NewTimer(100 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("still: %v", err)
		}
	}
}
