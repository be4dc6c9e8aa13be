package agent

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
)

// strip returns what objects are reduced to before they are kept, so that memory goes with what is needed: a Service costs
// about a kilobyte, an EndpointSlice as much as the nodes that it is on, another node its addresses and
// whether it serves.
func strip(node string) func(any) (any, error) {
	return func(obj any) (any, error) {
		switch o := obj.(type) {
		case *corev1.Service:
			return stripService(o), nil
		case *discoveryv1.EndpointSlice:
			return stripSlice(o), nil
		case *corev1.Node:
			return stripNode(o, o.Name == node), nil
		}
		return obj, nil
	}
}

func stripMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		DeletionTimestamp: m.DeletionTimestamp,
	}
}

func stripService(in *corev1.Service) *corev1.Service {
	out := &corev1.Service{TypeMeta: in.TypeMeta, ObjectMeta: stripMeta(in.ObjectMeta)}
	for k, v := range in.Annotations {
		if strings.HasPrefix(k, "kube-vip.io/") {
			if out.Annotations == nil {
				out.Annotations = make(map[string]string)
			}
			out.Annotations[k] = v
		}
	}
	out.Spec = corev1.ServiceSpec{
		Type: in.Spec.Type, LoadBalancerIP: in.Spec.LoadBalancerIP, LoadBalancerClass: in.Spec.LoadBalancerClass,
		ExternalTrafficPolicy: in.Spec.ExternalTrafficPolicy,
	}
	for _, p := range in.Spec.Ports {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{Port: p.Port, Protocol: p.Protocol})
	}
	out.Status.LoadBalancer = in.Status.LoadBalancer
	return out
}

func stripSlice(in *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{TypeMeta: in.TypeMeta, ObjectMeta: stripMeta(in.ObjectMeta), AddressType: in.AddressType}
	out.Labels = map[string]string{discoveryv1.LabelServiceName: in.Labels[discoveryv1.LabelServiceName]}
	type place struct {
		node           string
		ready, serving bool
	}
	seen := make(map[place]struct{})
	for _, ep := range in.Endpoints {
		c := ep.Conditions
		p := place{ready: c.Ready == nil || *c.Ready, serving: c.Serving != nil && *c.Serving}
		if ep.NodeName != nil {
			p.node = *ep.NodeName
		}
		if _, again := seen[p]; again {
			continue
		}
		seen[p] = struct{}{}
		kept := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: c.Ready, Serving: c.Serving}}
		if p.node != "" {
			kept.NodeName = &p.node
		}
		out.Endpoints = append(out.Endpoints, kept)
	}
	return out
}

// stripNode keeps labels and annotations of this node, of others only the label of the control plane's addresses, and of conditions only
// whether it is ready: a kubelet reports the time of each every few minutes.
func stripNode(in *corev1.Node, own bool) *corev1.Node {
	out := &corev1.Node{TypeMeta: in.TypeMeta, ObjectMeta: stripMeta(in.ObjectMeta)}
	out.Spec = corev1.NodeSpec{PodCIDRs: in.Spec.PodCIDRs, Unschedulable: in.Spec.Unschedulable, Taints: in.Spec.Taints}
	out.Status.Addresses = in.Status.Addresses
	for _, c := range in.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	if vips, has := in.Labels[annotations.HasIPLabel]; own {
		out.Labels, out.Annotations = in.Labels, in.Annotations
	} else if has {
		out.Labels = map[string]string{annotations.HasIPLabel: vips}
	}
	return out
}

// sameNode reports whether two versions of a Node, both stripped, say the same.
func sameNode(before, after any) bool {
	b, ok := before.(*corev1.Node)
	a, isNode := after.(*corev1.Node)
	if !ok || !isNode {
		return false
	}
	old, now := *b, *a
	old.ResourceVersion, now.ResourceVersion = "", ""
	old.TypeMeta, now.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{} // lists leave it out
	return reflect.DeepEqual(&old, &now)
}
