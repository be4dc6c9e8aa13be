package provider

import (
	"encoding/json"
	"maps"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"daymark/annotations"
)

// Trim returns the transform for the Service informer: it keeps what the controller and its sources read of a Service, in memory of its own and
// with texts that many have in common shared. A Service as it comes takes half as much again and more. Of managedFields one entry is left that says what the
// CCM wrote. managers are the field managers that count as ours.
func Trim(managers []string) cache.TransformFunc {
	t := trimmer{managers: managers, entries: map[marks][]metav1.ManagedFieldsEntry{}, labels: map[string]string{
		annotations.ImplementationLabel: annotations.Implementation,
	}}
	for bits := range 32 {
		m := marks{bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0, bits&16 != 0}
		t.entries[m] = compactEntry(m, managers[0])
	}
	for _, policy := range []corev1.IPFamilyPolicy{corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack} {
		t.policies = append(t.policies, &policy)
	}
	four, six := corev1.IPv4Protocol, corev1.IPv6Protocol
	t.families = [][]corev1.IPFamily{{four}, {six}, {four, six}, {six, four}}
	return func(obj any) (any, error) {
		if svc, ok := obj.(*corev1.Service); ok {
			return t.trim(svc), nil
		}
		return obj, nil
	}
}

// trimmer has what trimmed Services share. Nobody changes any of it.
type trimmer struct {
	managers []string
	entries  map[marks][]metav1.ManagedFieldsEntry
	labels   map[string]string // where there are no others
	policies []*corev1.IPFamilyPolicy
	families [][]corev1.IPFamily
}

func (t *trimmer) trim(svc *corev1.Service) *corev1.Service {
	out := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: svc.Name, Namespace: share(svc.Namespace), UID: svc.UID, ResourceVersion: svc.ResourceVersion,
			CreationTimestamp: svc.CreationTimestamp, DeletionTimestamp: svc.DeletionTimestamp,
			Labels: svc.Labels, Annotations: svc.Annotations, Finalizers: svc.Finalizers,
			ManagedFields: t.entries[writtenByUs(svc, t.managers)],
		},
		Spec: corev1.ServiceSpec{
			Type: share(svc.Spec.Type), LoadBalancerIP: svc.Spec.LoadBalancerIP, LoadBalancerClass: svc.Spec.LoadBalancerClass,
			IPFamilyPolicy: t.policy(svc.Spec.IPFamilyPolicy), IPFamilies: t.familyList(svc.Spec.IPFamilies),
		},
	}
	if maps.Equal(svc.Labels, t.labels) {
		out.Labels = t.labels
	}
	if _, has := out.Annotations[corev1.LastAppliedConfigAnnotation]; has {
		out.Annotations[corev1.LastAppliedConfigAnnotation] = "" // the key stays: a patch must know that there are annotations
	}
	for i, f := range out.Finalizers {
		out.Finalizers[i] = share(f)
	}
	if isLoadBalancer(svc) {
		for _, p := range svc.Spec.Ports {
			out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{Protocol: share(p.Protocol), Port: p.Port})
		}
		for _, i := range svc.Status.LoadBalancer.Ingress {
			out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: i.IP})
		}
	}
	return out
}

func (t *trimmer) policy(p *corev1.IPFamilyPolicy) *corev1.IPFamilyPolicy {
	for _, shared := range t.policies {
		if p != nil && *p == *shared {
			return shared
		}
	}
	return p
}

func (t *trimmer) familyList(list []corev1.IPFamily) []corev1.IPFamily {
	for _, shared := range t.families {
		if slices.Equal(list, shared) {
			return shared
		}
	}
	return list
}

// share returns text in memory that all equal ones share.
func share[T ~string](text T) T { return unique.Make(text).Value() }

// compactEntry returns managedFields that read as m, and nil for none.
func compactEntry(m marks, manager string) []metav1.ManagedFieldsEntry {
	if !m.any() {
		return nil
	}
	set := func(parts ...any) map[string]struct{} {
		out := map[string]struct{}{}
		for i := 0; i < len(parts); i += 2 {
			if parts[i+1].(bool) {
				out[parts[i].(string)] = struct{}{}
			}
		}
		return out
	}
	var f fieldSet
	f.Metadata.Annotations = set(fieldAddresses, m.Addresses, fieldLink, m.Link)
	f.Metadata.Labels = set(fieldLabel, m.Label)
	f.Metadata.Finalizers = set(fieldFinalizer, m.Finalizer)
	if m.Spec {
		f.Spec = map[string]json.RawMessage{fieldSpec: json.RawMessage("{}")}
	}
	raw, err := json.Marshal(f)
	if err != nil {
		panic("provider: a field set of strings does not marshal: " + err.Error())
	}
	return []metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw)),
	}}
}
