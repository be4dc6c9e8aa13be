package agent_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/internal/agent"
)

// links makes eth0 and eth1 as they are said to be; "-" is a link that is not there.
func (w *world) links(eth0, eth1 string) {
	w.t.Helper()
	now := map[string]string{"lo": ""}
	for name, is := range map[string]string{"eth0": eth0, "eth1": eth1} {
		if is != "-" {
			now[name] = is
		}
	}
	w.services.SetSurroundings(agent.Surroundings{Links: now})
	synctest.Wait()
}

// reason returns what status says of a Service.
func (w *world) reason(name string) string {
	for _, v := range w.services.View() {
		if v.Service == "default/"+name {
			return v.Reason
		}
	}
	return "unknown"
}

func TestLinks(t *testing.T) {
	const gone = "has no carrier"
	// One Service on each of two links, and one on both, spread over the nodes.
	start := func(t *testing.T, change func(*agent.ServicesConfig)) *world {
		w := newWorld(t, func(c *agent.ServicesConfig) {
			c.Policy.Spread, c.GiveUpAfter = true, 30*time.Second
			if change != nil {
				change(c)
			}
		})
		w.links("", "")
		time.Sleep(time.Minute)
		on1 := annotated(annotations.ServiceInterface, "eth1")
		w.put(service("zero", "192.0.2.10"), slice("zero", 0, "n1"))
		w.put(service("one", "192.0.2.11", on1), slice("one", 0, "n1"))
		w.put(service("both-0", "192.0.2.12", annotated(annotations.LeaseName, "both")), slice("both-0", 0, "n1"))
		w.put(service("both-1", "192.0.2.13", annotated(annotations.LeaseName, "both"), on1), slice("both-1", 0, "n1"))
		return w
	}
	const zero, one, both, last = "spread:192.0.2.10", "spread:192.0.2.11", "spread:default/both,192.0.2.12,192.0.2.13", "reports"
	expect := func(w *world, of0, of1, ofBoth, ofLease string) {
		w.t.Helper()
		w.expectClaims(last + ofLease + " " + zero + of0 + " " + one + of1 + " " + both + ofBoth)
	}

	story(t, "what goes to a link without a carrier is for others, given up where none takes it, and taken a while after the link is back", func(t *testing.T) {
		w := start(t, nil)
		expect(w, "", "", "", "")
		w.links("", gone)
		expect(w, "", " yields", " yields", "")
		for name, want := range map[string]string{"zero": "another node may hold it", "one": "link eth1 has no carrier", "both-0": "link eth1 has no carrier"} {
			if got := w.reason(name); got != want {
				t.Errorf("of %s status says %q, want %q", name, got, want)
			}
		}
		time.Sleep(29 * time.Second)
		expect(w, "", " yields", " yields", "")
		time.Sleep(time.Second)
		expect(w, "", " yields abstains", " yields abstains", "")
		w.links("", "")
		expect(w, "", " yields", " yields", "")
		time.Sleep(5 * time.Second)
		expect(w, "", "", "", "")
	})

	story(t, "a link that flaps takes nothing until it has been there for a while", func(t *testing.T) {
		w := start(t, nil)
		for range 100 {
			w.links("", gone)
			time.Sleep(time.Second)
			w.links("", "")
			time.Sleep(4 * time.Second)
			expect(w, "", " yields", " yields", "")
		}
		time.Sleep(time.Second)
		expect(w, "", "", "", "")
	})

	story(t, "links that are not there, are renamed or down are as good as cut; what is not used says nothing", func(t *testing.T) {
		w := start(t, func(c *agent.ServicesConfig) { c.GiveUpAfter = 0 })
		for _, is := range []string{"-", "is down"} {
			w.links("", is)
			time.Sleep(time.Hour)
			expect(w, "", " yields", " yields", "")
			w.links("", "")
			time.Sleep(5 * time.Second)
			expect(w, "", "", "", "")
		}
		w.services.SetSurroundings(agent.Surroundings{Links: map[string]string{"eth0": "", "eth1": "", "docker0": gone}})
		expect(w, "", "", "", "")
		w.put(service("one", "192.0.2.11", annotated(annotations.ServiceInterface, "docker0")), slice("one", 0, "n1"))
		expect(w, "", " yields", "", "")
		w.put(service("one", "192.0.2.11"), slice("one", 0, "n1"))
		expect(w, "", "", "", "")
	})

	story(t, "who holds it all the same says why that is of no use, once it lasts", func(t *testing.T) {
		w := start(t, nil)
		w.elector.grant(t, "192.0.2.10", "192.0.2.11")
		w.told()
		w.links("", gone)
		w.settle()
		w.expectSaid("one", "192.0.2.11:80 by n1")
		w.expectTold("Warning AddressTrouble link eth1 has no carrier")
		if got := w.reason("one"); got != "link eth1 has no carrier" {
			t.Errorf("status says %q", got)
		}
		w.links("", "")
		w.expectTold()
		w.links(gone, "")
		w.elector.grant(t, "192.0.2.11") // another node took it at once: nobody needs to know
		w.expectTold()
	})

	story(t, "the one lease is for another node while the link of Services is down, or nothing can be served here", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) { c.GiveUpAfter = 30 * time.Second })
		w.links("", "")
		time.Sleep(time.Minute)
		on1 := annotated(annotations.ServiceInterface, "eth1")
		w.put(service("zero", "192.0.2.10"), slice("zero", 0, "n1"))
		w.put(service("one", "192.0.2.11", on1), slice("one", 0, "n1"))
		w.links("", gone)
		w.expectClaims("192.0.2.10 192.0.2.11 reports") // the rest would go with it
		time.Sleep(30 * time.Second)
		w.expectClaims("192.0.2.10 192.0.2.11 abstains reports")
		w.links(gone, "")
		w.expectClaims("192.0.2.10 yields 192.0.2.11 yields reports yields")
		w.links("", "")
		time.Sleep(5 * time.Second)
		w.expectClaims("192.0.2.10 192.0.2.11 reports")
		w.put(service("zero", "192.0.2.10", on1), slice("zero", 0, "n1"))
		w.links("", gone)
		w.expectClaims("192.0.2.10 yields 192.0.2.11 yields reports yields")
	})

	story(t, "what is on no link does not depend on one", func(t *testing.T) {
		w := start(t, func(c *agent.ServicesConfig) { c.Detached = true })
		w.links(gone, "-")
		time.Sleep(time.Minute)
		expect(w, "", "", "", "")
		w.elector.grant(t, "192.0.2.10")
		w.expect("wire +192.0.2.10")
	})

	story(t, "metrics have the link of the settings and those that Services name, and whether they can carry traffic", func(t *testing.T) {
		w := start(t, nil)
		reg := prometheus.NewRegistry()
		is := map[string]string{"eth1": "link eth1 has no carrier"}
		agent.CountLinks(reg, func() map[string]string {
			out := map[string]string{}
			for _, name := range w.services.Links() {
				out[name] = is[name]
			}
			return out
		})
		expect := func(want string) {
			t.Helper()
			families, err := reg.Gather()
			must(t, err)
			got := ""
			for _, f := range families {
				for _, m := range f.GetMetric() {
					got += fmt.Sprintf("%s{%s=%s} %v ", f.GetName(), m.GetLabel()[0].GetName(), m.GetLabel()[0].GetValue(), m.GetGauge().GetValue())
				}
			}
			if got != want {
				t.Errorf("metrics say %q, not %q", got, want)
			}
		}
		expect("daymark_agent_link_up{link=eth0} 1 daymark_agent_link_up{link=eth1} 0 ")
		for _, name := range []string{"zero", "one", "both-0", "both-1"} {
			must(t, w.client.CoreV1().Services("default").Delete(t.Context(), name, metav1.DeleteOptions{}))
		}
		synctest.Wait()
		is["eth0"] = "link eth0 is down"
		expect("daymark_agent_link_up{link=eth0} 0 ")
	})
}
