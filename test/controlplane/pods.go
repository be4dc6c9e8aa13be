package controlplane

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/netns"
)

// PodPort is where a Pod serves its page.
const PodPort = 8080

// Pod is a "pod": a host with an address of its node's pod range in each family,
// which serves its name as a page. There is no Pod object.
type Pod struct {
	*netns.Host
	Node *Node
}

// AddPod starts a pod on the node. The name is unique in the lab, and at most 11
// characters long.
func (n *Node) AddPod(name string) (*Pod, error) {
	n.pods++
	var addrs []netip.Addr
	for _, cidr := range n.PodCIDRs() {
		addr := cidr.Addr().Next() // .1 stays free
		for range n.pods {
			addr = addr.Next()
		}
		addrs = append(addrs, addr)
	}
	host, err := n.cluster.lab.AddPod(n.Host, name, addrs...)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if _, err := host.Echo("http", netip.AddrPortFrom(addr, PodPort).String()); err != nil {
			return nil, fmt.Errorf("serving on pod %s: %w", name, err)
		}
	}
	return &Pod{Host: host, Node: n}, nil
}

// Endpoint is one backend in an EndpointSlice.
type Endpoint struct {
	Pod        *Pod
	Conditions discoveryv1.EndpointConditions // the zero value counts as ready
}

// Ready are the endpoints of pods that are ready and serve.
func Ready(pods ...*Pod) []Endpoint {
	yes, no := true, false
	out := make([]Endpoint, len(pods))
	for i, p := range pods {
		out[i] = Endpoint{Pod: p, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}}
	}
	return out
}

// SetEndpoints makes these the endpoints of a Service: one EndpointSlice for each
// family that the Service has, owned by it, as the controller manager would write.
func SetEndpoints(ctx context.Context, client kubernetes.Interface, service *corev1.Service, endpoints ...Endpoint) error {
	for _, family := range service.Spec.IPFamilies {
		slice := sliceOf(service, family, endpoints)
		slices := client.DiscoveryV1().EndpointSlices(service.Namespace)
		_, err := slices.Create(ctx, slice, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = slices.Update(ctx, slice, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("writing endpoint slice %s: %w", slice.Name, err)
		}
	}
	return nil
}

func sliceOf(service *corev1.Service, family corev1.IPFamily, endpoints []Endpoint) *discoveryv1.EndpointSlice {
	kind, is := discoveryv1.AddressTypeIPv4, netip.Addr.Is4
	if family == corev1.IPv6Protocol {
		kind, is = discoveryv1.AddressTypeIPv6, netip.Addr.Is6
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name:      service.Name + "-" + map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "v4", discoveryv1.AddressTypeIPv6: "v6"}[kind],
			Namespace: service.Namespace,
			Labels:    map[string]string{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: "bed"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID,
			}},
		},
		AddressType: kind,
	}
	for _, p := range service.Spec.Ports {
		port := int32(PodPort)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &port})
	}
	for _, e := range endpoints {
		addrs := []netip.Addr{e.Pod.Addr(), e.Pod.Addr6()}
		i := slices.IndexFunc(addrs, is)
		if i < 0 {
			continue
		}
		node := e.Pod.Node.Name()
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{addrs[i].String()}, Conditions: e.Conditions, NodeName: &node,
		})
	}
	return slice
}
