package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
)

// NodeWatch follows the Node object of this node. It is for agents without [Services], which do so themselves.
type NodeWatch struct {
	Client kubernetes.Interface
	Node   string
	// Leaving is called with the reason for which this node should hand over what it holds whenever that changes, "" when there is
	// none any more. May be nil.
	Leaving func(reason string)
	Labels  *Labels // may be nil
	// Registered is called with the UID of the Node whenever that was read or has changed. May be nil.
	Registered func(types.UID)
}

// Run follows the Node until ctx ends. Without an API server, or without the object, it waits.
func (w NodeWatch) Run(ctx context.Context) error {
	f := informers.NewSharedInformerFactoryWithOptions(w.Client, 0, informers.WithTransform(strip(w.Node)),
		informers.WithTweakListOptions(func(l *metav1.ListOptions) {
			l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, w.Node).String()
		}))
	informer := f.Core().V1().Nodes().Informer()
	last := ""
	_, err := informer.AddEventHandler(handler(func(any) {
		obj, _, _ := informer.GetStore().GetByKey(w.Node) // of memory: it has no error
		own, _ := obj.(*corev1.Node)
		if w.Labels != nil {
			w.Labels.Observe(own)
		}
		if own != nil && w.Registered != nil {
			w.Registered(own.UID)
		}
		if reason := Leaving(own); reason != last && w.Leaving != nil {
			last = reason
			w.Leaving(reason)
		}
	}))
	if err != nil {
		return fmt.Errorf("following node %s: %w", w.Node, err)
	}
	f.Start(ctx.Done())
	<-ctx.Done()
	untilEnd(ctx, f.Shutdown)
	return nil
}

// NodeEvents returns a function that tells something on the Node of that name.
func NodeEvents(events record.EventRecorder, node string) func(Event) {
	on := nodeReference(node)
	return func(e Event) { events.Event(on, e.Type, e.Reason, e.Text) }
}

// LinkEvent returns what is told on the Node of the link that the control plane's address goes to: why it can't carry traffic, as in "link eth0
// has no carrier", and with "" that it does again.
func LinkEvent(link, trouble string) Event {
	if trouble == "" {
		return Event{corev1.EventTypeNormal, "LinkServes", "control plane: link " + link + " serves again"}
	}
	return planeTrouble(trouble)
}

// planeTrouble is told on the Node.
func planeTrouble(text string) Event { return trouble("control plane: " + text) }

// nodeReference names a Node as the kubelet's Events do, which `kubectl describe node` shows.
func nodeReference(node string) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(node)}
}

// notReady is why a node hands over whose kubelet says that it is not ready, or is not heard of.
const notReady = "not ready"

// Leaving returns why a node should hand over what it holds, "" if it needn't: it is cordoned, tainted by Kubernetes as not able to
// serve, or not ready. Its condition says so before the node lifecycle controller makes a taint of it, and also where that doesn't run. A
// Node without the condition is one of which nothing is known.
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
			return notReady
		}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return notReady
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
