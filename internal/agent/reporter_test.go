package agent_test

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
		w.shared.grant(t, "192.0.2.10")
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
		w.shared.grant(t, "192.0.2.10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.expectSaid("web", "192.0.2.10:80 by n1")
	})

	story(t, "what is already said is not written again", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.shared.grant(t, "192.0.2.10")
		w.settle()
		w.client.ClearActions()
		w.services.Changed(w.States())
		w.shared.grant(t, "192.0.2.10")
		w.settle()
		for _, a := range w.client.Actions() {
			if a.GetVerb() != "list" && a.GetVerb() != "watch" && a.GetVerb() != "get" {
				t.Errorf("wrote: %v", a)
			}
		}
	})
}
