// Package manifests renders Kubernetes objects as YAML: the agent as a static pod or a DaemonSet, the
// cloud-controller-manager as a Deployment, and exactly the rights that they need.
//
// It decides nothing: names, environment and features come as parameters from the programs, which know their own
// settings. The names of what is made are part of the outside contract, so that what is made replaces kube-vip's objects.
package manifests

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names of the agent's objects.
const (
	PodName            = "kube-vip"
	DaemonSetName      = "kube-vip-ds"
	ServiceAccountName = "kube-vip"
)

// DefaultNamespace is where everything is made unless told otherwise.
const DefaultNamespace = "kube-system"

// DefaultKubeconfig is the kubeconfig that a static pod uses unless told otherwise: kubeadm's.
const DefaultKubeconfig = "/etc/kubernetes/admin.conf"

// DefaultImage returns the image of both programs, for a build of that version; "" is none.
func DefaultImage(version string) string { return "daymark:" + cmp.Or(version, "latest") }

// EnvVar is a variable of a container's environment.
type EnvVar struct{ Name, Value string }

// Agent is what the agent's pod is made from.
type Agent struct {
	Image     string // with its tag
	Namespace string // empty means [DefaultNamespace]
	// Env is the environment, in order. The node's name is added unless it is there.
	Env []EnvVar
	// InCluster uses the ServiceAccount; otherwise Kubeconfig, a file of the node, is mounted at its own path.
	InCluster  bool
	Kubeconfig string // empty means [DefaultKubeconfig]
	// Files are files of the node that settings name, absolute; they are mounted read-only at their own path.
	Files []string
	// Probe is where /livez and /readyz are served. Without a port there are no probes; without a valid address
	// the node's own is asked.
	Probe netip.AddrPort
	// Drain is what a graceful stop needs beside the usual second; the pod gets that much longer.
	Drain time.Duration
}

// Pod returns the manifest of a static pod, for the kubelet's folder of manifests.
func Pod(a Agent) ([]byte, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	spec := a.podSpec()
	// As the kubelet does for static pods: no taint evicts it.
	spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}
	out, err := render(&corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: PodName, Namespace: a.namespace(), Labels: labels(PodName)},
		Spec:       spec,
	})
	if err != nil || a.InCluster || a.kubeconfig() != DefaultKubeconfig {
		return out, err
	}
	return append([]byte(superAdmin), out...), nil
}

const superAdmin = `# kubeadm 1.29 and later: while "kubeadm init" runs on the first node, admin.conf has no rights yet. Make this node's
# manifest with --k8sConfigPath /etc/kubernetes/super-admin.conf, and replace it by this one once init is done.
`

// Placement says on which nodes a DaemonSet runs.
type Placement int

// The placements.
const (
	AnyNode          Placement = iota // every node that has no taint
	ControlPlaneOnly                  // control-plane nodes only, whatever their taints
)

// DaemonSet returns the manifest of a DaemonSet.
func DaemonSet(a Agent, placement Placement) ([]byte, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	spec := a.podSpec()
	if placement == ControlPlaneOnly {
		spec.Tolerations = []corev1.Toleration{
			{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		}
		spec.Affinity = controlPlaneAffinity()
	}
	return render(&appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Name: DaemonSetName, Namespace: a.namespace(), Labels: labels(PodName)},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels(PodName)},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels(PodName)}, Spec: spec},
		},
	})
}

func (a Agent) validate() error {
	var errs []error
	if a.Image == "" {
		errs = append(errs, errors.New("image is empty"))
	}
	for _, path := range append(a.Files, a.kubeconfig()) {
		if !strings.HasPrefix(path, "/") {
			errs = append(errs, fmt.Errorf("path %q is not absolute, so it can't be mounted", path))
		}
	}
	return errors.Join(errs...)
}

func (a Agent) namespace() string {
	if a.Namespace == "" {
		return DefaultNamespace
	}
	return a.Namespace
}

func (a Agent) kubeconfig() string {
	if a.Kubeconfig == "" {
		return DefaultKubeconfig
	}
	return a.Kubeconfig
}

func labels(name string) map[string]string {
	return map[string]string{"app.kubernetes.io/name": name}
}
