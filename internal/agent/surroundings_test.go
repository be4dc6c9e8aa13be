package agent_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"daymark/annotations"
	"daymark/internal/agent"
)

func TestSurroundings(t *testing.T) {
	reserved := func(addr, what string) agent.Surroundings {
		return agent.Surroundings{Reserved: []agent.Reserved{{Prefix: prefix(addr), What: what}}}
	}

	story(t, "what becomes the gateway's is let go of at once, its user is told by who held it, and it is taken again when it is free", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.put(service("other", "192.0.2.11"), slice("other", 0, "n1"))
		w.elector.grant(t, "192.0.2.10", "192.0.2.11") // and not the right to tell
		w.settle()
		w.journal.take()
		w.told()
		w.services.SetSurroundings(reserved("192.0.2.10/32", "the default gateway on eth0"))
		w.expectClaims("192.0.2.11 reports")
		w.expect("wire -192.0.2.10", "kernel -192.0.2.10")
		w.expectTold("Warning AddressRefused 192.0.2.10: the default gateway on eth0")
		w.expectSaid("web", "")
		if v := w.services.View()[1]; v.Held || v.Reason != "192.0.2.10: the default gateway on eth0" {
			t.Errorf("status shows %+v", v)
		}
		w.services.SetSurroundings(agent.Surroundings{})
		w.expectClaims("192.0.2.10 192.0.2.11 reports")
	})

	story(t, "what was never held here is told by who speaks alone", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.services.SetSurroundings(reserved("192.0.2.10/32", "the default gateway on eth0"))
		w.expectClaims("reports")
		w.expectTold()
		w.elector.grant(t, "reports")
		w.expectTold("Warning AddressRefused 192.0.2.10: the default gateway on eth0")
	})

	story(t, "a link's new subnet is where its addresses go", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Policy.Link, c.Policy.AutoLink = "auto", "eth0" })
		w.put(service("web", "198.51.100.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "198.51.100.10")
		w.settle()
		link := func() string { return w.States()[0].Address.Link }
		if d := cmp.Diff("eth0", link()); d != "" {
			t.Error(d)
		}
		w.services.SetSurroundings(agent.Surroundings{Subnets: []agent.Subnet{{Link: "eth1", Prefix: prefix("198.51.100.1/24")}}})
		time.Sleep(100 * time.Millisecond)
		if d := cmp.Diff("eth1", link()); d != "" {
			t.Error(d)
		}
	})

	story(t, "what another agent holds for the control plane is refused, as the label of its Node says", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("thief", "192.0.2.100"), slice("thief", 0, "n1"))
		w.expectClaims("192.0.2.100 reports")
		label := func(value string) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", Labels: map[string]string{annotations.HasIPLabel: value, "x": "y"}}}
			_, err := w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
			if err != nil {
				_, err = w.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
			}
			must(t, err)
			w.settle()
		}
		label("192.0.2.100_2001-db8--1")
		w.elector.grant(t, "reports")
		w.expectClaims("reports")
		w.expectTold("Warning AddressRefused 192.0.2.100: the control plane's address")
		label("192.0.2.101")
		w.expectClaims("192.0.2.100 reports")
	})

	for what, thief := range map[string]string{"Service CIDRs": "198.18.2.7", "the API server's cluster address": "198.18.2.1"} {
		story(t, what+" that can't be read at the start are refused nonetheless", func(t *testing.T) {
			failures := 0
			w := newWorld(t, func(c *agent.ServicesConfig) {
				client, _ := c.Client.(*fake.Clientset)
				must(t, client.Tracker().Add(&networkingv1.ServiceCIDR{
					ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"198.18.2.0/24"}},
				}))
				must(t, client.Tracker().Add(&corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: corev1.ServiceSpec{ClusterIP: "198.18.2.1"},
				}))
				refuse := func(err error, times int) clienttesting.ReactionFunc {
					return func(clienttesting.Action) (bool, runtime.Object, error) {
						failures++
						return failures <= times, nil, err
					}
				}
				if thief == "198.18.2.1" {
					client.PrependReactor("get", "services", refuse(apierrors.NewServiceUnavailable("later"), 2))
					client.PrependReactor("list", "servicecidrs", func(clienttesting.Action) (bool, runtime.Object, error) {
						return true, nil, apierrors.NewForbidden(networkingv1.Resource("servicecidrs"), "", nil)
					})
				} else {
					client.PrependReactor("list", "servicecidrs", refuse(apierrors.NewServiceUnavailable("later"), 1))
				}
			})
			w.put(service("thief", thief), slice("thief", 0, "n1"))
			time.Sleep(time.Minute)
			w.expectClaims("reports")
			if failures < 2 {
				t.Errorf("nothing failed: asked %d times", failures)
			}
		})
	}
}
