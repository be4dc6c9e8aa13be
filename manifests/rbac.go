package manifests

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names of the agent's cluster-wide rights; kube-vip's, so that applying these replaces its wider ones.
const (
	clusterRole        = "system:kube-vip-role"
	clusterRoleBinding = "system:kube-vip-binding"
)

// Rights is what the agent does, as far as it needs rights for it.
type Rights struct {
	Namespace string // of the ServiceAccount; empty means [DefaultNamespace]
	// Services is on when Services of type LoadBalancer are served.
	Services bool
	// ServicesNamespace is the only one that is served; empty means all.
	ServicesNamespace string
	// LabelNodes is on when the Node of a holder is labelled.
	LabelNodes bool
	// LeaseNamespaces are where leases are. At least one.
	LeaseNamespaces []string
	// Secrets are what the agent reads, by namespace/name.
	Secrets []Secret
}

// Secret names a Secret.
type Secret struct{ Namespace, Name string }

// RBAC returns the ServiceAccount of the agent with exactly the rights in r: one role for the cluster, and one for each
// namespace with leases, Secrets, the only Services, or the address of the control plane.
func RBAC(r Rights) ([]byte, error) {
	namespace := cmp.Or(r.Namespace, DefaultNamespace)
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: ServiceAccountName, Namespace: namespace}
	objects := []any{
		serviceAccount(ServiceAccountName, namespace),
		clusterRoleObject(clusterRole, r.clusterRules()),
		clusterBinding(clusterRoleBinding, clusterRole, subject),
	}
	for _, ns := range r.namespaces() {
		objects = append(objects, role(PodName, ns, r.rulesIn(ns)), binding(PodName, ns, PodName, "Role", subject))
	}
	return render(objects...)
}

func (r Rights) clusterRules() []rbacv1.PolicyRule {
	nodes := rule("", "nodes", "get", "list", "watch")
	if r.LabelNodes {
		nodes.Verbs = append(nodes.Verbs, "patch")
	}
	// Events on Nodes are in namespace default, those on Services beside them.
	rules := []rbacv1.PolicyRule{nodes, rule("", "events", "create", "patch")}
	if r.Services {
		rules = append(rules, rule("networking.k8s.io", "servicecidrs", "get", "list", "watch"))
	}
	if r.Services && r.ServicesNamespace == "" {
		rules = append(rules, serviceRules()...)
	}
	return rules
}

func serviceRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("", "services", "get", "list", "watch"),
		rule("", "services/status", "patch"), // also for the holder's annotation
		rule("discovery.k8s.io", "endpointslices", "get", "list", "watch"),
	}
}

// namespaces returns where a role is needed, sorted.
func (r Rights) namespaces() []string {
	out := slices.Clone(r.LeaseNamespaces)
	for _, s := range r.Secrets {
		out = append(out, s.Namespace)
	}
	if r.Services {
		out = append(out, metav1.NamespacePublic)
	}
	if r.Services && r.ServicesNamespace != "" {
		out = append(out, r.ServicesNamespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r Rights) rulesIn(namespace string) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	if slices.Contains(r.LeaseNamespaces, namespace) {
		rules = append(rules, rule("coordination.k8s.io", "leases", "get", "list", "watch", "create", "update"))
	}
	if r.Services && r.ServicesNamespace == namespace {
		rules = append(rules, serviceRules()...)
	}
	if r.Services && namespace == metav1.NamespacePublic { // where kubeadm publishes the control plane's address, which no Service may have
		rules = append(rules, named(rule("", "configmaps", "get"), "cluster-info"))
	}
	var names []string
	for _, s := range r.Secrets {
		if s.Namespace == namespace {
			names = append(names, s.Name)
		}
	}
	if len(names) > 0 {
		rules = append(rules, named(rule("", "secrets", "get", "list", "watch"), names...))
	}
	return rules
}

// named narrows r to objects of these names.
func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = slices.Compact(slices.Sorted(slices.Values(names)))
	return r
}

func rule(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

func serviceAccount(name, namespace string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
	}
}

func rbacType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

func clusterRoleObject(name string, rules []rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{TypeMeta: rbacType("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func clusterBinding(name, role string, subject rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta: rbacType("ClusterRoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{subject},
	}
}

func role(name, namespace string, rules []rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta: rbacType("Role"), ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Rules: rules,
	}
}

func binding(name, namespace, role, kind string, subject rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta: rbacType("RoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
		Subjects: []rbacv1.Subject{subject},
	}
}
