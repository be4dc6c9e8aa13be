package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/internal/agent"
)

// cordon makes a Node that is cordoned or not, of nothing else.
func (w *world) cordon(name string, cordoned bool) {
	w.t.Helper()
	w.putNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Unschedulable: cordoned}})
}

// ready makes a Node of which a kubelet, or who misses it, just said whether it is ready, and of nothing else.
func (w *world) ready(name string, status corev1.ConditionStatus) {
	w.t.Helper()
	w.putNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: status, LastHeartbeatTime: metav1.Now()},
	}}})
}

func (w *world) putNode(node *corev1.Node) {
	w.t.Helper()
	nodes := w.client.CoreV1().Nodes()
	_, err := nodes.Update(w.t.Context(), node, metav1.UpdateOptions{})
	if err != nil {
		_, err = nodes.Create(w.t.Context(), node, metav1.CreateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func TestDrainWithoutElection(t *testing.T) {
	// A node of several that all hold what they can serve, with one Service that any serves and one that n1 alone serves.
	start := func(t *testing.T) *world {
		w := newWorld(t, func(c *agent.ServicesConfig) { c.StayAtStop, c.Drain = true, 5*time.Second })
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1", "n2"))
		w.put(service("here", "192.0.2.11", local), slice("here", 0, "n1"))
		w.elector.grant(t, "192.0.2.10", "192.0.2.11")
		w.expect("kernel +192.0.2.10", "kernel +192.0.2.11", "wire +192.0.2.10", "wire +192.0.2.11")
		return w
	}
	const all = "192.0.2.10 reports spread:192.0.2.11@n1"

	story(t, "what others serve is marked first, and dropped after a while; what nobody else serves stays", func(t *testing.T) {
		w := start(t)
		w.cordon("n2", false)
		w.cordon("n1", true)
		w.expectClaims(all)
		w.expect("wire marks 192.0.2.10")
		time.Sleep(5*time.Second - time.Millisecond)
		w.expectClaims(all)
		time.Sleep(time.Millisecond)
		w.expectClaims("reports spread:192.0.2.11@n1")
		w.elector.grant(t, "192.0.2.11")
		w.expect("wire -192.0.2.10", "kernel -192.0.2.10")
		for _, v := range w.services.View() {
			if v.Service == "default/web" && (v.Held || v.Reason != "this node is cordoned") {
				t.Errorf("status shows %+v", v)
			}
		}
		w.put(service("here", "192.0.2.11", local), slice("here", 0, "n1", "n2"))
		w.expectClaims("reports")
		w.cordon("n1", false)
		w.expectClaims("192.0.2.10 reports spread:192.0.2.11@n1,n2")
	})

	story(t, "a node that is uncordoned in time drops nothing", func(t *testing.T) {
		w := start(t)
		w.cordon("n2", false)
		w.cordon("n1", true)
		w.expect("wire marks 192.0.2.10")
		time.Sleep(time.Second)
		w.cordon("n1", false)
		w.expect("wire unmarks 192.0.2.10")
		time.Sleep(10 * time.Second)
		w.expectClaims(all)
		w.expect()
	})

	story(t, "an agent that ends leaves all that it holds to the announcers to withdraw", func(t *testing.T) {
		w := start(t)
		w.end()
		w.expect()
	})

	story(t, "the last node that serves keeps everything until another does", func(t *testing.T) {
		w := start(t)
		w.cordon("n2", true)
		w.cordon("n1", true)
		time.Sleep(10 * time.Second)
		w.expectClaims(all)
		w.expect()
		w.cordon("n2", false)
		w.expectClaims("reports spread:192.0.2.11@n1")
	})

	story(t, "a node that is not ready drops what a ready one serves; where none is ready all of them keep it", func(t *testing.T) {
		w := start(t)
		w.ready("n2", corev1.ConditionUnknown)
		w.ready("n1", corev1.ConditionFalse)
		time.Sleep(10 * time.Second)
		w.expectClaims(all)
		w.ready("n2", corev1.ConditionTrue)
		w.expectClaims("reports spread:192.0.2.11@n1")
		w.ready("n2", corev1.ConditionFalse)
		w.expectClaims(all)
		w.ready("n1", corev1.ConditionTrue)
		w.ready("n2", corev1.ConditionTrue)
		w.expectClaims(all)
	})
}

// What a kubelet says every few minutes is of no consequence while it says the same.
func TestReadinessThatStaysCostsNothing(t *testing.T) {
	story(t, "only a change is looked at", func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		var said []string
		w := newWorld(t, func(c *agent.ServicesConfig) {
			c.Metrics = agent.NewMetrics(metrics, func() []agent.State { return nil })
			c.Leaving = func(why string) { said = append(said, why) }
		})
		decided := func() uint64 {
			families, err := metrics.Gather()
			must(t, err)
			for _, m := range families {
				if m.GetName() == "daymark_agent_decide_seconds" {
					return m.GetMetric()[0].GetHistogram().GetSampleCount()
				}
			}
			t.Fatal("no such metric")
			return 0
		}
		for _, status := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown, corev1.ConditionTrue} {
			w.ready("n1", status)
			w.ready("n2", status)
			time.Sleep(time.Minute)
			synctest.Wait()
			before := decided()
			for range 10 {
				time.Sleep(5 * time.Minute)
				w.ready("n1", status)
				w.ready("n2", status)
			}
			if n := decided() - before; n > 0 {
				t.Errorf("what this node stands for was decided %d times anew while the nodes were said to be ready=%s", n, status)
			}
		}
		if d := cmp.Diff([]string{"not ready", ""}, said); d != "" {
			t.Error(d)
		}
	})
}
