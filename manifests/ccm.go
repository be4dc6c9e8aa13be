package manifests

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Names of the cloud-controller-manager's objects; kube-vip-cloud-provider's.
const (
	ccmDeployment     = "kube-vip-cloud-provider"
	ccmServiceAccount = "kube-vip-cloud-controller"
	ccmRole           = "system:kube-vip-cloud-controller-role"
	ccmBinding        = "system:kube-vip-cloud-controller-binding"
	ccmLease          = "kube-vip-cloud-controller"
	ccmPort           = 10258
	cloudConfigFolder = "/etc/cloud-sa" // the Equinix CCM's
)

// CCM is what the cloud-controller-manager's objects are made from.
type CCM struct {
	Image     string // with its tag
	Namespace string // empty means [DefaultNamespace]
	Replicas  int32  // 0 means 2: one works, one stands by
	// Args are added behind the flags that are always given.
	Args []string
	Env  []EnvVar
	// CloudProvider is the vendor whose cloud it is, as --cloud-provider takes it; its rights let Nodes be initialized and removed. Empty means pools.
	CloudProvider string
	// ConfigMap is the name of the pools' ConfigMap, ConfigMapNamespace where it is; empty means kubevip in [DefaultNamespace].
	ConfigMap, ConfigMapNamespace string
	// CloudConfig is the name of the Secret with the cloud's configuration under key cloud-sa.json: a vendor's token, rules for BGP. It
	// lets Nodes be annotated. Empty means none.
	CloudConfig string
	// Secrets are what else the program reads, such as BGP passwords.
	Secrets []Secret
	// Pools are the ConfigMap's content. Empty means that the ConfigMap is left alone.
	Pools map[string]string
}

// CloudControllerManager returns the ServiceAccount, its rights, the Deployment and, when Pools are given, their ConfigMap.
func CloudControllerManager(c CCM) ([]byte, error) {
	c.Namespace = cmp.Or(c.Namespace, DefaultNamespace)
	c.ConfigMap = cmp.Or(c.ConfigMap, "kubevip")
	c.ConfigMapNamespace = cmp.Or(c.ConfigMapNamespace, DefaultNamespace)
	switch {
	case c.vendor() && c.CloudConfig == "":
		return nil, fmt.Errorf("cloud provider %s: name the Secret with its configuration", c.CloudProvider)
	case c.vendor() && len(c.Pools) > 0:
		return nil, fmt.Errorf("cloud provider %s: addresses come from its API, not from pools", c.CloudProvider)
	}
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: ccmServiceAccount, Namespace: c.Namespace}
	objects := []any{
		serviceAccount(ccmServiceAccount, c.Namespace),
		clusterRoleObject(ccmRole, c.clusterRules()),
		clusterBinding(ccmBinding, ccmRole, subject),
		role(ccmServiceAccount, c.Namespace, []rbacv1.PolicyRule{
			rule("coordination.k8s.io", "leases", "get", "create", "update"),
		}),
		binding(ccmServiceAccount, c.Namespace, ccmServiceAccount, "Role", subject),
	}
	objects = append(objects, clusterInfoRole(subject)...)
	objects = append(objects, c.secretRoles(subject)...)
	if !c.vendor() {
		objects = append(objects, c.configRole(subject)...)
	}
	objects = append(objects, c.deployment())
	if len(c.Pools) > 0 {
		objects = append(objects, &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Name: c.ConfigMap, Namespace: c.ConfigMapNamespace},
			Data:       c.Pools,
		})
	}
	return render(objects...)
}

func (c CCM) clusterRules() []rbacv1.PolicyRule {
	nodes := rule("", "nodes", "get", "list", "watch")
	if c.CloudConfig != "" {
		nodes.Verbs = append(nodes.Verbs, "patch")
	}
	var vendor []rbacv1.PolicyRule
	if c.vendor() {
		nodes.Verbs = append(nodes.Verbs, "update", "delete")
		vendor = []rbacv1.PolicyRule{
			rule("", "nodes/status", "patch"),
			named(rule("", "namespaces", "get"), metav1.NamespaceSystem), // its UID is the cluster's identity
		}
	}
	return append([]rbacv1.PolicyRule{
		rule("", "services", "get", "list", "watch", "patch"),
		nodes,
		rule("networking.k8s.io", "servicecidrs", "get", "list", "watch"),
		rule("", "events", "create", "patch"),
		// Who may read the metrics is for the API server to say.
		rule("authentication.k8s.io", "tokenreviews", "create"),
		rule("authorization.k8s.io", "subjectaccessreviews", "create"),
	}, vendor...)
}

// vendor reports whether there are instances to look after.
func (c CCM) vendor() bool { return c.CloudProvider != "" }

// configRole lets the pools be watched: a watch of one object, by name.
func (c CCM) configRole(subject rbacv1.Subject) []any {
	pools := named(rule("", "configmaps", "get", "list", "watch"), c.ConfigMap)
	name := ccmServiceAccount + "-pools"
	return []any{
		role(name, c.ConfigMapNamespace, []rbacv1.PolicyRule{pools}),
		binding(name, c.ConfigMapNamespace, name, "Role", subject),
	}
}

// clusterInfoRole lets the address of the control plane be known where kubeadm made the cluster: no Service may have it.
func clusterInfoRole(subject rbacv1.Subject) []any {
	name := ccmServiceAccount + "-cluster-info"
	return []any{
		role(name, metav1.NamespacePublic, []rbacv1.PolicyRule{named(rule("", "configmaps", "get"), "cluster-info")}),
		binding(name, metav1.NamespacePublic, name, "Role", subject),
	}
}

func (c CCM) secretRoles(subject rbacv1.Subject) []any {
	r := Rights{Secrets: c.Secrets}
	name := ccmServiceAccount + "-secrets"
	var out []any
	for _, namespace := range r.namespaces() {
		out = append(out, role(name, namespace, r.rulesIn(namespace)), binding(name, namespace, name, "Role", subject))
	}
	return out
}

func (c CCM) deployment() *appsv1.Deployment {
	// kube-vip-cloud-provider's selector: it can't be changed in a Deployment that is there already.
	selector := map[string]string{"app": "kube-vip", "component": "kube-vip-cloud-provider"}
	replicas := cmp.Or(c.Replicas, 2)
	podLabels := map[string]string{"app.kubernetes.io/name": ccmDeployment}
	for key, value := range selector {
		podLabels[key] = value
	}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: ccmDeployment, Namespace: c.Namespace, Labels: podLabels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: podLabels}, Spec: c.podSpec()},
		},
	}
}

func (c CCM) podSpec() corev1.PodSpec {
	yes := true
	user := int64(65532) // nobody in particular
	spec := corev1.PodSpec{
		ServiceAccountName: ccmServiceAccount,
		PriorityClassName:  "system-cluster-critical",
		// It gives the first nodes what they need to become ready, so it waits for nothing that a node may lack.
		Tolerations: []corev1.Toleration{
			{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			{Key: "node-role.kubernetes.io/master", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			{Key: "node.cloudprovider.kubernetes.io/uninitialized", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
		},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{c.container()},
	}
	if c.vendor() {
		// Nodes have neither a pod network nor cluster DNS before they are initialized, and it is what initializes them.
		spec.HostNetwork, spec.DNSPolicy = true, corev1.DNSDefault
		spec.Tolerations = append(spec.Tolerations,
			corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
		spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: ccmPort}} // so that two don't land on one node
	}
	if c.CloudConfig != "" {
		const volume = "cloud-sa-volume"
		spec.Volumes = []corev1.Volume{{
			Name:         volume,
			VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: c.CloudConfig}},
		}}
		spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: volume, MountPath: cloudConfigFolder, ReadOnly: true}}
	}
	return spec
}

func (c CCM) container() corev1.Container {
	yes, no := true, false
	var args []string
	if c.vendor() {
		args = append(args, "--cloud-provider="+c.CloudProvider)
	}
	args = append(args, "--leader-elect-resource-name="+ccmLease, "--leader-elect-resource-namespace="+c.Namespace)
	if c.CloudConfig != "" {
		args = append(args, "--cloud-config="+cloudConfigFolder+"/cloud-sa.json")
	}
	var env []corev1.EnvVar
	for _, e := range c.Env {
		env = append(env, corev1.EnvVar{Name: e.Name, Value: e.Value})
	}
	return corev1.Container{
		Name:            ccmDeployment,
		Image:           c.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/kube-vip-cloud-provider"},
		Args:            append(args, c.Args...),
		Env:             env,
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		LivenessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: "/healthz", Port: intstr.FromInt32(ccmPort), Scheme: corev1.URISchemeHTTPS,
			}},
			PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 3, InitialDelaySeconds: 10,
		},
	}
}
