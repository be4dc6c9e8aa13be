package pools_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/require"
)

// TestUpgrade swaps the image of kube-vip-cloud-provider: its role, its environment, and the Services that it left behind stay as they are.
func TestUpgrade(t *testing.T) {
	b := newBed(t)
	b.pools(t, map[string]string{"cidr-global": "198.18.0.0/28", "interface-global": "eth7"})
	services := b.client.CoreV1().Services("default")
	ctx := t.Context()
	old := metav1.UpdateOptions{FieldManager: "kube-vip-cloud-provider"}

	svc := require.Value(services.Create(ctx, service("left"), metav1.CreateOptions{}))(t)
	svc.Labels = map[string]string{"implementation": "kube-vip"}
	svc.Annotations = map[string]string{annotations.LoadBalancerIPs: "198.18.0.1"}
	svc.Spec.LoadBalancerIP = "198.18.0.1"
	svc.Finalizers = []string{"service.kubernetes.io/load-balancer-cleanup"}
	require.Value(services.Update(ctx, svc, old))(t)
	svc = require.Value(services.Create(ctx, service("asked", annotate(annotations.LoadBalancerIPs, "198.18.0.2")), metav1.CreateOptions{}))(t)
	svc.Labels = map[string]string{"implementation": "kube-vip"}
	require.Value(services.Update(ctx, svc, old))(t)
	class := "example.org/other"
	require.Value(services.Create(ctx, service("foreign", annotate(annotations.LoadBalancerIPs, "198.18.0.3"), func(s *corev1.Service) {
		s.Spec.LoadBalancerClass = &class
	}), metav1.CreateOptions{}))(t)

	b.alone(t, b.oldRole(t))
	t.Run("addresses in use are nobody else's", func(t *testing.T) {
		require.Value(services.Create(ctx, service("new"), metav1.CreateOptions{}))(t)
		b.await(t, "default", "new", has("198.18.0.4"))
	})
	t.Run("what it left is served on, and what a user wrote stays the user's", func(t *testing.T) {
		for name, address := range map[string]string{"left": "198.18.0.1", "asked": "198.18.0.2"} {
			b.await(t, "default", name, func(s *corev1.Service) bool { return has(address)(s) && s.Spec.LoadBalancerIP == address })
			b.change(t, "default", name, clusterIP)
			svc := b.await(t, "default", name, func(s *corev1.Service) bool { return s.Spec.LoadBalancerIP == "" && len(s.Finalizers) == 0 })
			if has := svc.Annotations[annotations.LoadBalancerIPs] != ""; has != (name == "asked") || svc.Annotations[annotations.ServiceInterface] != "" {
				t.Errorf("%s: %v", name, svc.Annotations)
			}
		}
	})
	t.Run("another class is left alone", func(t *testing.T) {
		svc := require.Value(services.Get(ctx, "foreign", metav1.GetOptions{}))(t)
		if len(svc.Labels) > 0 || svc.Spec.LoadBalancerIP != "" || len(svc.Finalizers) > 0 {
			t.Errorf("%+v", svc)
		}
	})
}

// TestClasses serves Services of our class and those without one in one process, with the environment of kube-vip-cloud-provider.
func TestClasses(t *testing.T) {
	b := newBed(t)
	b.pools(t, map[string]string{"cidr-global": "198.18.0.0/28", "allow-share-global": "true"})
	c := b.here.Command(b.program, "--kubeconfig="+b.Kubeconfig, "--secure-port=0", "--leader-elect=false")
	c.Env = []string{"KUBEVIP_ENABLE_LOADBALANCERCLASS=true", "KUBEVIP_CUSTOM_LOADBALANCERCLASS_NAME=example.org/ours"}
	require.NoError(t, c.Start())
	services := b.client.CoreV1().Services("default")
	of := func(class string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = &class }
	}
	port := func(n int32) func(*corev1.Service) { return func(svc *corev1.Service) { svc.Spec.Ports[0].Port = n } }
	require.Value(services.Create(t.Context(), service("classed", of("example.org/ours")), metav1.CreateOptions{}))(t)
	b.await(t, "default", "classed", has("198.18.0.1"))
	require.Value(services.Create(t.Context(), service("foreign", of("example.org/other"), port(81)), metav1.CreateOptions{}))(t)
	require.Value(services.Create(t.Context(), service("shares", port(443)), metav1.CreateOptions{}))(t)
	b.await(t, "default", "shares", has("198.18.0.1"))
	t.Run("a port that becomes another's moves the Service", func(t *testing.T) {
		b.change(t, "default", "shares", port(80))
		b.await(t, "default", "shares", has("198.18.0.2"))
	})
	svc := require.Value(services.Get(t.Context(), "foreign", metav1.GetOptions{}))(t)
	if len(svc.Annotations) > 0 {
		t.Errorf("served: %v", svc.Annotations)
	}
	require.NoError(t, services.Delete(t.Context(), "classed", metav1.DeleteOptions{}))
	require.NoError(t, controlplane.AwaitGone(t.Context(), services, "classed"))
}

// oldRole returns the kubeconfig of a user with what kube-vip-cloud-provider's role allows: Services may be updated but not patched.
func (b *bed) oldRole(t testing.TB) string {
	t.Helper()
	rule := func(group string, resources []string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
	}
	id := require.Value(controlplane.ServiceAccount(t.Context(), b.client, "kube-system", "kube-vip-cloud-controller"))(t)
	require.Value(b.client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "old"}, Rules: []rbacv1.PolicyRule{
			rule("coordination.k8s.io", []string{"leases"}, "get", "create", "update", "list", "put"),
			rule("", []string{"configmaps", "endpoints", "events", "services/status", "leases"}, "*"),
			rule("", []string{"nodes", "services"}, "list", "get", "watch", "update"),
		},
	}, metav1.CreateOptions{}))(t)
	require.Value(b.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "old"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "old"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "kube-system", Name: "kube-vip-cloud-controller"}},
	}, metav1.CreateOptions{}))(t)
	return require.Value(b.WriteKubeconfig(id))(t)
}
