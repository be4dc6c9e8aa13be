package agent

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Leaving returns why a node should hand over what it holds, "" if it needn't: it is cordoned, or tainted by Kubernetes as
// not able to serve.
func Leaving(node *corev1.Node) string {
	if node == nil {
		return ""
	}
	if node.Spec.Unschedulable {
		return "cordoned"
	}
	for _, t := range node.Spec.Taints {
		switch {
		case t.Key == corev1.TaintNodeUnschedulable, t.Key == corev1.TaintNodeOutOfService, t.Key == "ToBeDeletedByClusterAutoscaler",
			strings.HasSuffix(t.Key, "cloudprovider.kubernetes.io/shutdown"):
			return "tainted " + t.Key
		case t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable):
			return "tainted " + t.Key
		}
	}
	return ""
}
