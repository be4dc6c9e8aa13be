package manifests

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// grace is what a stop takes at most without a drain: the hand-over, the withdrawal, and an API server that is slow.
const grace = 10 * time.Second

func (a Agent) podSpec() corev1.PodSpec {
	seconds := int64((grace + a.Drain + time.Second - 1) / time.Second)
	spec := corev1.PodSpec{
		Containers:                    []corev1.Container{a.container()},
		HostNetwork:                   true,
		PriorityClassName:             "system-node-critical",
		TerminationGracePeriodSeconds: &seconds,
		SecurityContext: &corev1.PodSecurityContext{
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if a.InCluster {
		spec.ServiceAccountName = ServiceAccountName
	} else {
		// The API server of this node, whose certificate has this name, before the VIP is up.
		spec.HostAliases = []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"kubernetes"}}}
		mount(&spec, "kubeconfig", a.kubeconfig())
	}
	for i, path := range a.Files {
		mount(&spec, "file-"+strconv.Itoa(i+1), path)
	}
	return spec
}

// mount gives the container a file of the node, at its own path. Type File makes the kubelet wait until the file is there,
// where it would otherwise make a folder of that name, and kubeadm would stumble over it.
func mount(spec *corev1.PodSpec, name, path string) {
	file := corev1.HostPathFile
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name:         name,
		VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &file}},
	})
	c := &spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: true})
}

func (a Agent) container() corev1.Container {
	yes, no := true, false
	return corev1.Container{
		Name:            PodName,
		Image:           a.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Args:            []string{"manager"},
		Env:             a.environment(),
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no,
			ReadOnlyRootFilesystem:   &yes,
			Capabilities: &corev1.Capabilities{
				Drop: []corev1.Capability{"ALL"},
				Add:  []corev1.Capability{"NET_ADMIN", "NET_RAW"},
			},
		},
		LivenessProbe:  a.probe("/livez", 10, 3),
		ReadinessProbe: a.probe("/readyz", 5, 2),
	}
}

// environment is Env with the node's name in front, unless Env says it.
func (a Agent) environment() []corev1.EnvVar {
	var out []corev1.EnvVar
	named := false
	for _, e := range a.Env {
		named = named || e.Name == "vip_nodename"
		out = append(out, corev1.EnvVar{Name: e.Name, Value: e.Value})
	}
	if named {
		return out
	}
	node := corev1.EnvVar{Name: "vip_nodename", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"},
	}}
	return append([]corev1.EnvVar{node}, out...)
}

func (a Agent) probe(path string, period, failures int32) *corev1.Probe {
	if a.Probe.Port() == 0 {
		return nil
	}
	get := corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(int32(a.Probe.Port()))}
	if a.Probe.Addr().IsValid() && !a.Probe.Addr().IsUnspecified() {
		get.Host = a.Probe.Addr().String()
	}
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &get},
		PeriodSeconds:    period,
		FailureThreshold: failures,
		TimeoutSeconds:   3,
	}
}

// controlPlaneAffinity asks for either of the two labels that control-plane nodes have had.
func controlPlaneAffinity() *corev1.Affinity {
	term := func(label string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: label, Operator: corev1.NodeSelectorOpExists},
		}}
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
			term("node-role.kubernetes.io/control-plane"), term("node-role.kubernetes.io/master"),
		}},
	}}
}
