package provider

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servicehelpers "k8s.io/cloud-provider/service/helpers"

	"daymark/annotations"
)

// FieldManager is the name under which the API server books what the controller writes. It is what kube-vip-cloud-provider goes by, so that
// what that program wrote before counts as written by us.
const FieldManager = "kube-vip-cloud-provider"

// finalizer keeps a Service until its addresses are given back.
const finalizer = servicehelpers.LoadBalancerCleanupFinalizer

// marks are the fields of a Service that the CCM may write; as a set, those that it did write and nobody else claims since.
type marks struct {
	Addresses bool // annotation loadbalancerIPs
	Link      bool // annotation serviceInterface
	Spec      bool // spec.loadBalancerIP
	Label     bool // label implementation
	Finalizer bool
}

func (m marks) any() bool { return m != marks{} }

// fieldSet is the part of a FieldsV1 (sigs.k8s.io/structured-merge-diff, fieldpath) that concerns marks.
type fieldSet struct {
	Metadata struct {
		Annotations map[string]struct{} `json:"f:annotations,omitempty"`
		Labels      map[string]struct{} `json:"f:labels,omitempty"`
		Finalizers  map[string]struct{} `json:"f:finalizers,omitempty"`
	} `json:"f:metadata"`
	Spec map[string]json.RawMessage `json:"f:spec,omitempty"`
}

const (
	fieldAddresses = "f:" + annotations.LoadBalancerIPs
	fieldLink      = "f:" + annotations.ServiceInterface
	fieldLabel     = "f:" + annotations.ImplementationLabel
	fieldSpec      = "f:loadBalancerIP"
	fieldFinalizer = `v:"` + finalizer + `"`
)

func (f fieldSet) marks() marks {
	has := func(m map[string]struct{}, key string) bool { _, ok := m[key]; return ok }
	_, spec := f.Spec[fieldSpec]
	return marks{
		Addresses: has(f.Metadata.Annotations, fieldAddresses),
		Link:      has(f.Metadata.Annotations, fieldLink),
		Label:     has(f.Metadata.Labels, fieldLabel),
		Finalizer: has(f.Metadata.Finalizers, fieldFinalizer),
		Spec:      spec,
	}
}

// writtenByUs reads from managedFields what the CCM wrote and still owns alone. A field that is gone, or that another manager set since or
// claims as well by server-side apply, is not ours. Where managedFields were stripped, nothing is: then a value counts as a user's request for just that,
// which keeps it.
func writtenByUs(svc *corev1.Service, managers []string) marks {
	var ours, theirs marks
	for i := range svc.ManagedFields {
		entry := &svc.ManagedFields[i]
		m := entryMarks(entry)
		if slices.Contains(managers, entry.Manager) && entry.Operation == metav1.ManagedFieldsOperationUpdate {
			ours = ours.or(m)
			continue
		}
		theirs = theirs.or(m)
	}
	return ours.without(theirs)
}

func entryMarks(entry *metav1.ManagedFieldsEntry) marks {
	if entry.FieldsV1 == nil || !concernsUs(entry.FieldsV1.GetRawString()) {
		return marks{}
	}
	var f fieldSet
	if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &f); err != nil {
		return marks{}
	}
	return f.marks()
}

// concernsUs is a cheap test that spares most entries the decoding.
func concernsUs(raw string) bool {
	for _, field := range []string{fieldAddresses, fieldLink, fieldLabel, fieldSpec, finalizer} {
		if strings.Contains(raw, field) {
			return true
		}
	}
	return false
}

func (m marks) or(n marks) marks {
	return marks{m.Addresses || n.Addresses, m.Link || n.Link, m.Spec || n.Spec, m.Label || n.Label, m.Finalizer || n.Finalizer}
}

func (m marks) without(n marks) marks {
	return marks{m.Addresses && !n.Addresses, m.Link && !n.Link, m.Spec && !n.Spec, m.Label && !n.Label, m.Finalizer && !n.Finalizer}
}
