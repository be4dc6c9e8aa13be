package provider

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"daymark/annotations"
	"daymark/internal/vip"
	"daymark/ipam"
)

// ownerOf returns the name by which sources and queue know a Service.
func ownerOf(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

func isLoadBalancer(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func hasFinalizer(svc *corev1.Service) bool { return slices.Contains(svc.Finalizers, finalizer) }

// wish is what a Service asks for.
type wish struct {
	ipam.Request
	// Named tells that the user gave host names: the agents resolve them, and there is nothing to allocate.
	Named bool
}

// wishOf reads the Service's request. Asked for is what a user wrote: the annotation, or else spec.loadBalancerIP; what the CCM
// wrote is no request. The error names what doesn't parse.
func wishOf(svc *corev1.Service, ours marks) (wish, error) {
	w := wish{Request: ipam.Request{Owner: ownerOf(svc), Namespace: svc.Namespace, Policy: policyOf(svc), Families: familiesOf(svc), Ports: portsOf(svc)}}
	asked, err := asked(svc, ours)
	if err != nil {
		return wish{}, err
	}
	for _, r := range asked {
		if r.Host != "" {
			w.Named = true
			continue
		}
		if !slices.Contains(w.Requested, r.Addr) {
			w.Requested = append(w.Requested, r.Addr)
		}
	}
	return w, nil
}

func asked(svc *corev1.Service, ours marks) ([]annotations.Request, error) {
	if value := svc.Annotations[annotations.LoadBalancerIPs]; value != "" && !ours.Addresses {
		requests, err := annotations.ParseRequests(value)
		if err != nil {
			return nil, fmt.Errorf("annotation %s=%q: %w", annotations.LoadBalancerIPs, value, err)
		}
		return requests, nil
	}
	if value := svc.Spec.LoadBalancerIP; value != "" && !ours.Spec {
		requests, err := annotations.ParseRequests(value)
		if err != nil || len(requests) != 1 {
			return nil, fmt.Errorf("spec.loadBalancerIP %q is not an address", value)
		}
		return requests, nil
	}
	return nil, nil
}

// existingOf returns the addresses in use by a Service of type LoadBalancer, as far as they parse: an unparsable value hurts its Service alone.
// Of Services that wait for our answer, what was only asked for is left out.
func existingOf(svc *corev1.Service, ours marks, waits bool) ipam.Existing {
	e := ipam.Existing{Owner: ownerOf(svc), Namespace: svc.Namespace, Ports: portsOf(svc)}
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			e.Shown = append(e.Shown, addr.Unmap().WithZone(""))
		}
	}
	if waits {
		return e
	}
	requested, _ := asked(svc, ours)
	for _, r := range requested {
		if r.Host == "" {
			e.Requested = append(e.Requested, r.Addr)
		}
	}
	written, _ := annotations.ParseRequests(svc.Annotations[annotations.LoadBalancerIPs])
	spec, _ := annotations.ParseRequests(svc.Spec.LoadBalancerIP)
	for _, r := range slices.Concat(written, spec) {
		if r.Host == "" && !slices.Contains(e.Addrs, r.Addr) {
			e.Addrs = append(e.Addrs, r.Addr)
		}
	}
	return e
}

// served reports whether a Service that we serve was served before: whoever did it left a label, a finalizer or a status.
func served(svc *corev1.Service) bool {
	return svc.Labels[annotations.ImplementationLabel] == annotations.Implementation || hasFinalizer(svc) || len(svc.Status.LoadBalancer.Ingress) > 0
}

func policyOf(svc *corev1.Service) ipam.Policy {
	if svc.Spec.IPFamilyPolicy == nil {
		return ipam.SingleStack
	}
	switch *svc.Spec.IPFamilyPolicy {
	case corev1.IPFamilyPolicyPreferDualStack:
		return ipam.PreferDualStack
	case corev1.IPFamilyPolicyRequireDualStack:
		return ipam.RequireDualStack
	}
	return ipam.SingleStack
}

func familiesOf(svc *corev1.Service) []ipam.Family {
	var out []ipam.Family
	for _, family := range svc.Spec.IPFamilies {
		switch family {
		case corev1.IPv4Protocol:
			out = append(out, ipam.IPv4)
		case corev1.IPv6Protocol:
			out = append(out, ipam.IPv6)
		}
	}
	return out
}

func portsOf(svc *corev1.Service) []ipam.Port {
	out := make([]ipam.Port, 0, len(svc.Spec.Ports))
	for _, p := range svc.Spec.Ports {
		protocol := vip.TCP
		if p.Protocol != "" {
			protocol = vip.Protocol(p.Protocol)
		}
		out = append(out, ipam.Port{Protocol: protocol, Port: uint16(p.Port)})
	}
	return out
}
