package provider_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/provider"
)

const (
	addressField = `{"f:metadata":{"f:annotations":{".":{},"f:kube-vip.io/loadbalancerIPs":{}}}}`
	otherField   = `{"f:metadata":{"f:annotations":{"f:example.org/loadBalancerIP":{}}}}`
)

// TestWhoWroteTheAddress decides between a request and our own value, by what happens when the Service stops being a load balancer: only ours goes.
func TestWhoWroteTheAddress(t *testing.T) {
	update, apply := metav1.ManagedFieldsOperationUpdate, metav1.ManagedFieldsOperationApply
	for name, test := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		ours   bool
	}{
		"ours":                   {[]metav1.ManagedFieldsEntry{managed(provider.FieldManager, update, addressField)}, true},
		"a user's":               {[]metav1.ManagedFieldsEntry{managed("kubectl-edit", update, addressField)}, false},
		"ours, beside a user's":  {[]metav1.ManagedFieldsEntry{managed("kubectl", update, otherField), managed(provider.FieldManager, update, addressField)}, true},
		"claimed by a user, too": {[]metav1.ManagedFieldsEntry{managed("flux", apply, addressField), managed(provider.FieldManager, update, addressField)}, false},
		"applied in our name":    {[]metav1.ManagedFieldsEntry{managed(provider.FieldManager, apply, addressField)}, false},
		"stripped":               {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			svc := loadBalancer("web")
			svc.Spec.Type = corev1.ServiceTypeClusterIP
			svc.Labels = map[string]string{annotations.ImplementationLabel: annotations.Implementation}
			svc.Annotations = map[string]string{annotations.LoadBalancerIPs: "192.0.2.1"}
			svc.Finalizers = []string{"service.kubernetes.io/load-balancer-cleanup"} // so that there is something to wait for
			svc.ManagedFields = test.fields
			b := play(t, "192.0.2.0/29", nil, svc)
			until(t, "it is cleared", func() bool { return len(b.service(t, "default/web").Finalizers) == 0 })
			if _, stays := b.service(t, "default/web").Annotations[annotations.LoadBalancerIPs]; stays == test.ours {
				t.Errorf("stays: %v", stays)
			}
		})
	}
}

func TestTrimKeepsWhatIsKnown(t *testing.T) {
	svc := written(loadBalancer("web"), "192.0.2.1")
	svc.Annotations[corev1.LastAppliedConfigAnnotation] = "a long text"
	trim := provider.Trim([]string{provider.FieldManager})
	once, err := trim(svc)
	if err != nil {
		t.Fatal(err)
	}
	first := once.(*corev1.Service).DeepCopy()
	if len(first.ManagedFields) != 1 || first.Annotations[corev1.LastAppliedConfigAnnotation] != "" {
		t.Errorf("%+v", first.ObjectMeta)
	}
	again, err := trim(first.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, again.(*corev1.Service)); d != "" {
		t.Error(d)
	}
}
