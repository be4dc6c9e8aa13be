package agent_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

func TestReporter(t *testing.T) {
	resource := schema.GroupResource{Resource: "services"}
	story(t, "a role that allows no patch is made do with", func(t *testing.T) {
		w := newWorld(t, nil)
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(resource, "web", errors.New("no verb patch"))
		})
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.expectSaid("web", "192.0.2.10:80 by n1")
	})

	story(t, "an API server that fails delays no address, and is told in the end", func(t *testing.T) {
		w := newWorld(t, nil)
		failures := 0
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			failures++
			return failures < 4, nil, apierrors.NewServerTimeout(resource, "patch", 1)
		})
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.expectSaid("web", "192.0.2.10:80 by n1")
	})

	story(t, "status is as the API server would complete it, so that nobody writes it back and forth", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.settle()
		svc, err := w.client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mode := corev1.LoadBalancerIPModeVIP
		want := []corev1.LoadBalancerIngress{{IP: "192.0.2.10", IPMode: &mode, Ports: []corev1.PortStatus{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
		if d := cmp.Diff(want, svc.Status.LoadBalancer.Ingress); d != "" {
			t.Error(d)
		}
	})

	story(t, "what is already said is not written again", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.settle()
		w.client.ClearActions()
		w.services.Changed(w.States())
		w.elector.grant(t, "192.0.2.10")
		w.settle()
		for _, a := range w.client.Actions() {
			if a.GetVerb() != "list" && a.GetVerb() != "watch" && a.GetVerb() != "get" {
				t.Errorf("wrote: %v", a)
			}
		}
	})
}
