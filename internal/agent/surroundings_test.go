package agent_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
}
