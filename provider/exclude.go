package provider

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"daymark/annotations"
	"daymark/ipam"
)

// controlPlaneVIP is whose such an address is.
const controlPlaneVIP = "control-plane VIP"

// exclusions returns what no Service may have, sorted.
func (p *Pools) exclusions() []ipam.Exclusion { return Exclusions(p.Nodes, p.ServiceCIDRs, p.Exclude) }

// Exclusions returns what no Service may have, sorted: what the Nodes have, the Service CIDRs where serviceCIDRs isn't nil, and more.
func Exclusions(nodes, serviceCIDRs cache.SharedIndexInformer, more []ipam.Exclusion) []ipam.Exclusion {
	out := slices.Clone(more)
	for _, obj := range nodes.GetIndexer().List() {
		out = append(out, NodeExclusions(obj.(*corev1.Node))...)
	}
	if serviceCIDRs != nil {
		for _, obj := range serviceCIDRs.GetIndexer().List() {
			out = append(out, ServiceCIDRExclusions(obj.(*networkingv1.ServiceCIDR))...)
		}
	}
	slices.SortFunc(out, func(a, b ipam.Exclusion) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.What, b.What))
	})
	return slices.Compact(out)
}

// NodeExclusions returns a Node's addresses, its pod CIDRs, and the control plane's address when the label of its holder names it.
func NodeExclusions(node *corev1.Node) []ipam.Exclusion {
	var out []ipam.Exclusion
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, Exclusion(addr, "node "+node.Name))
		}
	}
	for _, text := range append(slices.Clone(node.Spec.PodCIDRs), node.Spec.PodCIDR) {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			out = append(out, ipam.Exclusion{Prefix: prefix.Masked(), What: "pod CIDR of node " + node.Name})
		}
	}
	vips, _ := annotations.ParseLabelAddresses(node.Labels[annotations.HasIPLabel]) // what is no address excludes nothing
	for _, addr := range vips {
		out = append(out, Exclusion(addr, controlPlaneVIP))
	}
	return out
}

// ServiceCIDRExclusions returns the prefixes of a ServiceCIDR.
func ServiceCIDRExclusions(cidr *networkingv1.ServiceCIDR) []ipam.Exclusion {
	var out []ipam.Exclusion
	for _, text := range cidr.Spec.CIDRs {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			out = append(out, ipam.Exclusion{Prefix: prefix.Masked(), What: "Service CIDR " + cidr.Name})
		}
	}
	return out
}

// ControlPlaneExclusions returns the address of the control plane that kubeadm publishes in ConfigMap kube-public/cluster-info, if there is one, it is an
// address and not a name, and client may read it.
func ControlPlaneExclusions(ctx context.Context, client kubernetes.Interface) ([]ipam.Exclusion, error) {
	info, err := client.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading ConfigMap %s/cluster-info: %w", metav1.NamespacePublic, err)
	}
	kubeconfig, err := clientcmd.Load([]byte(info.Data["kubeconfig"]))
	if err != nil {
		return nil, nil // it isn't kubeadm's
	}
	var out []ipam.Exclusion
	for _, cluster := range kubeconfig.Clusters {
		out = append(out, ServerExclusions(cluster.Server, controlPlaneVIP)...)
	}
	return out, nil
}

// ServerExclusions excludes the host of a URL, when it is an address.
func ServerExclusions(server, what string) []ipam.Exclusion {
	u, err := url.Parse(server)
	if err != nil {
		return nil
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil
	}
	return []ipam.Exclusion{Exclusion(addr, what)}
}

// Exclusion excludes one address.
func Exclusion(addr netip.Addr, what string) ipam.Exclusion {
	addr = addr.Unmap().WithZone("")
	return ipam.Exclusion{Prefix: netip.PrefixFrom(addr, addr.BitLen()), What: what}
}

// nodeDiffers spares most updates of Nodes, which are heartbeats.
func nodeDiffers(old, obj any) bool {
	a, b := old.(*corev1.Node), obj.(*corev1.Node)
	return !slices.Equal(a.Status.Addresses, b.Status.Addresses) || !slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs) ||
		a.Labels[annotations.HasIPLabel] != b.Labels[annotations.HasIPLabel]
}

// TrimNode is the transform for the Node informer: it drops what no controller of the CCM reads, which is most of a Node.
func TrimNode(obj any) (any, error) {
	if node, ok := obj.(*corev1.Node); ok {
		node.ManagedFields = nil
		node.Status.Images = nil
	}
	return obj, nil
}
