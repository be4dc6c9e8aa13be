package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"daymark/annotations"
	"daymark/internal/agent"
	"daymark/internal/election"
)

// hostOf waits for the moment until which a name may be wrong, and returns it.
func (w *world) hostOf(name string) string {
	time.Sleep(9 * time.Second)
	w.settle()
	return w.get(name).Annotations[annotations.VIPHost]
}

// writes returns the verbs with which Services were written.
func (w *world) writes() []string {
	var out []string
	for _, a := range w.client.Actions() {
		if a.GetResource().Resource == "services" && slices.Contains([]string{"patch", "update"}, a.GetVerb()) {
			out = append(out, a.GetVerb())
		}
	}
	return out
}

func TestStaleHost(t *testing.T) {
	held := func(t *testing.T) *world {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.expectSaid("web", "192.0.2.10:80 by n1")
		return w
	}
	named := func(node string) func(*corev1.Service) { return annotated(annotations.VIPHost, node) }

	story(t, "when its endpoints are gone, so is the name of the holder; the status stays", func(t *testing.T) {
		w := held(t)
		gone := w.get("web")
		w.put(gone, slice("web", 0))
		w.elector.grant(t)
		w.expectSaid("web", "192.0.2.10:80 by n1")
		if host := w.hostOf("web"); host != "" {
			t.Errorf("held by %q", host)
		}
		w.expectSaid("web", "192.0.2.10:80")
	})

	story(t, "when the right is lost and nobody takes it, the name goes; when it comes back in time, it stays", func(t *testing.T) {
		w := held(t)
		w.client.ClearActions()
		w.elector.grant(t)
		time.Sleep(8 * time.Second)
		w.elector.grant(t, "192.0.2.10")
		if host := w.hostOf("web"); host != "n1" || len(w.writes()) > 0 {
			t.Errorf("held by %q after %s", host, w.writes())
		}
		w.elector.grant(t)
		time.Sleep(8 * time.Second)
		w.expectSaid("web", "192.0.2.10:80 by n1") // it counts anew
		if host := w.hostOf("web"); host != "" {
			t.Errorf("held by %q", host)
		}
	})

	story(t, "a successor's name stays, and costs its predecessor nothing", func(t *testing.T) {
		w := held(t)
		w.elector.grant(t)
		w.settle()
		svc := w.get("web")
		svc.Annotations[annotations.VIPHost] = "n2"
		w.put(svc)
		w.client.ClearActions()
		if host := w.hostOf("web"); host != "n2" || len(w.writes()) > 0 {
			t.Errorf("held by %q after %s", host, w.writes())
		}
	})

	for _, verb := range []string{"patch", "update"} {
		story(t, "what a successor wrote a moment ago is not taken back, by "+verb, func(t *testing.T) {
			w := newWorld(t, nil)
			old := service("web", "192.0.2.10", named("n1"), func(s *corev1.Service) { s.ResourceVersion = "7" })
			resource := schema.GroupResource{Resource: "services"}
			conflicts := 0
			w.client.PrependReactor("patch", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
				if verb == "update" {
					return true, nil, apierrors.NewForbidden(resource, "web", errors.New("no verb patch"))
				}
				if !strings.Contains(string(a.(clienttesting.PatchAction).GetPatch()), `"resourceVersion":"7"`) {
					return false, nil, nil
				}
				conflicts++
				return true, nil, apierrors.NewConflict(resource, "web", errors.New("it is at 8 by now"))
			})
			w.client.PrependReactor("get", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
				if verb == "patch" {
					return false, nil, nil
				}
				conflicts++
				newer := old.DeepCopy()
				newer.ResourceVersion, newer.Annotations[annotations.VIPHost] = "8", "n2"
				return true, newer, nil
			})
			w.put(old, slice("web", 0, "n1"))
			w.elector.grant(t)
			time.Sleep(15 * time.Second)
			synctest.Wait()
			if conflicts == 0 || slices.Contains(w.writes(), "update") {
				t.Errorf("%d conflicts, and %s", conflicts, w.writes())
			}
		})
	}

	story(t, "a restarted agent takes its name back from what it does not hold, once the election has spoken; what it does not serve it leaves alone", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10", named("n1")), slice("web", 0, "n1"))
		w.put(service("other", "192.0.2.11", named("n1"), class("other")), slice("other", 0, "n1"))
		time.Sleep(30 * time.Second)
		w.expectSaid("web", "by n1")
		w.elector.grant(t)
		if host := w.hostOf("web"); host != "" {
			t.Errorf("held by %q", host)
		}
		w.expectSaid("other", "by n1")
	})

	story(t, "the first of the living takes back the name of one that is gone, unless somebody takes over", func(t *testing.T) {
		for _, c := range []struct {
			live []string
			want string
		}{{[]string{"n2"}, ""}, {[]string{"n0", "n2"}, "n3"}} {
			w := newWorld(t, nil)
			w.put(service("web", "192.0.2.10", named("n3")), slice("web", 0, "n1"))
			w.elector.grant(t)
			w.services.SetMembers(election.Census{Live: []string{"n2", "n3"}})
			if host := w.hostOf("web"); host != "n3" {
				t.Errorf("while n3 lives: held by %q", host)
			}
			w.services.SetMembers(election.Census{Live: c.live, Gone: []string{"n3"}})
			w.expectSaid("web", "by n3")
			if host := w.hostOf("web"); host != c.want {
				t.Errorf("with %s alive: held by %q", c.live, host)
			}
			w.elector.grant(t, "192.0.2.10")
			w.expectSaid("web", "192.0.2.10:80 by n1")
		}
	})

	story(t, "the name of a node is taken back whose Lease went with its Node, and that of a live one is not", func(t *testing.T) {
		w := newWorld(t, nil)
		register := func(name string) {
			_, err := w.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			must(t, err)
		}
		for _, name := range []string{"n2", "n3"} {
			register(name)
		}
		w.put(service("of-n2", "192.0.2.10", named("n2")), slice("of-n2", 0, "n1"))
		w.put(service("of-n3", "192.0.2.11", named("n3")), slice("of-n3", 0, "n1"))
		w.elector.grant(t)
		w.services.SetMembers(election.Census{Live: []string{"n2", "n3"}})
		w.services.SetMembers(election.Census{Live: []string{"n3"}}) // n2 has gone, but not for certain
		if host := w.hostOf("of-n2"); host != "n2" {
			t.Errorf("held by %q", host)
		}
		for _, name := range []string{"n2", "n3"} {
			must(t, w.client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}))
		}
		if dead, live := w.hostOf("of-n2"), w.hostOf("of-n3"); dead != "" || live != "n3" {
			t.Errorf("held by %q and %q", dead, live)
		}
	})

	story(t, "the labels of a node whose agent is gone go, by its survivor's one request; those of a live one stay", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) {
			c.Labels = agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: c.Client, Services: true, Logger: c.Logger})
		})
		for _, name := range []string{"n2", "n3"} {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kept": "x"}}}
			for i := range 300 {
				node.Labels[fmt.Sprintf("%sweb-%d.default", annotations.ServiceLabelPrefix, i)] = "192.0.2.10"
			}
			_, err := w.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
			must(t, err)
		}
		w.settle()
		count := func(name string) int {
			synctest.Wait()
			node, err := w.client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
			must(t, err)
			return len(node.Labels)
		}
		w.client.ClearActions()
		gone := election.Census{Live: []string{"n3"}, Gone: []string{"deleted", "n2"}}
		w.services.SetMembers(gone)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := count("n2"); n != 301 {
			t.Errorf("an agent that stops has no time to remove its own labels: %d left", n)
		}
		w.client.ClearActions()
		time.Sleep(5 * time.Second)
		w.services.SetMembers(gone)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		var requests []string
		for _, a := range w.client.Actions() {
			requests = append(requests, a.GetVerb()+" "+a.GetResource().Resource)
		}
		if n2, n3 := count("n2"), count("n3"); n2 != 1 || n3 != 301 || len(requests) != 2 {
			t.Errorf("n2 has %d labels, n3 %d, after %s", n2, n3, requests)
		}
		// It came back, was labelled, and died again.
		w.services.SetMembers(election.Census{Live: []string{"n2", "n3"}})
		node, err := w.client.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
		must(t, err)
		node.Labels[annotations.ServiceLabelPrefix+"web.default"] = "192.0.2.10"
		_, err = w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
		must(t, err)
		time.Sleep(10 * time.Second)
		if n := count("n2"); n != 2 {
			t.Errorf("a live node has %d labels", n)
		}
		w.services.SetMembers(gone)
		time.Sleep(5 * time.Second)
		if n := count("n2"); n != 1 {
			t.Errorf("%d labels are left", n)
		}
	})

	story(t, "labels that are removed while they are true are put back", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) {
			c.Labels = agent.NewLabels(agent.LabelsConfig{Node: "n1", Client: c.Client, Services: true, Logger: c.Logger})
		})
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.settle()
		for range 2 {
			node, err := w.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
			must(t, err)
			if node.Labels[annotations.ServiceLabelPrefix+"web.default"] != "192.0.2.10" {
				t.Errorf("labels are %v", node.Labels)
			}
			node.Labels = nil
			_, err = w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
			must(t, err)
			w.settle()
		}
	})
}
