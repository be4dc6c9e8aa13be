package agent

import (
	"slices"
	"strings"
	"time"

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

// refreshLeaving takes in whether this node should let go of what it holds, and whether others could serve it, and reports whether that may
// have changed what this node stands for.
func (s *Services) refreshLeaving() bool {
	reason := Leaving(s.objects.own())
	if reason == s.leaving {
		return reason != "" && s.cfg.StayAtStop // other nodes may have come or gone
	}
	if s.leaving == "" {
		s.drained = time.Now().Add(s.cfg.Drain)
		time.AfterFunc(s.cfg.Drain, s.inbox.facts)
	}
	s.leaving = reason
	if s.cfg.Leaving != nil {
		s.cfg.Leaving(reason)
	}
	return s.cfg.StayAtStop
}

// leaves reports whether this node should let go of what a group has, and another node serves it: without an election each
// withdraws by itself, and the last one never does.
func (s *Services) leaves(g *Group) bool {
	return s.leaving != "" && s.cfg.StayAtStop && s.objects.others(g.Claim.Nodes)
}

// others reports whether a node other than this one, of those given or of all where nil, serves.
func (o *objects) others(nodes []string) bool {
	for _, obj := range o.nodes.GetStore().List() {
		node, ok := obj.(*corev1.Node)
		if ok && node.Name != o.node && (nodes == nil || slices.Contains(nodes, node.Name)) && Leaving(node) == "" {
			return true
		}
	}
	return false
}
