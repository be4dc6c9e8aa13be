package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"daymark/internal/agent"
	"daymark/internal/election"
)

func TestDispute(t *testing.T) {
	const web, lost = "192.0.2.10", " given up: node n2 uses it, and the lease is not this node's any more"
	holding := func(t *testing.T) *world {
		w := newWorld(t, nil)
		w.put(service("web", web), slice("web", 0, "n1"))
		w.elector.grant(t, web)
		w.expectTold("Normal Held Held by n1 with ARP")
		return w
	}
	ask := func(w *world, node string) (verdicts []election.Verdict) {
		mine := w.services.Dispute(netipMust(web), node, func(v election.Verdict) { verdicts = append(verdicts, v) })
		w.settle()
		if mine != (len(verdicts) > 0) {
			w.t.Errorf("there is a right: %v; verdicts: %v", mine, verdicts)
		}
		return verdicts
	}

	story(t, "the lease is asked for what is held here, and nothing else", func(t *testing.T) {
		w := holding(t)
		if w.services.Dispute(netipMust("192.0.2.11"), "n2", nil) {
			t.Error("there is a right to 192.0.2.11")
		}
		w.elector.verdict = election.Confirmed
		if d := cmp.Diff([]election.Verdict{election.Confirmed}, ask(w, "n2")); d != "" {
			t.Error(d)
		}
		w.elector.grant(t)
		if ask(w, "n2") != nil {
			t.Error("asked for what is held no more")
		}
		if d := cmp.Diff([]string{web}, w.elector.asked); d != "" {
			t.Error(d)
		}
	})

	story(t, "one claim of another member that the lease refutes is nobody's trouble, repeated ones are", func(t *testing.T) {
		w := holding(t)
		w.elector.verdict = election.Confirmed
		ask(w, "n2")
		w.expectTold()
		time.Sleep(time.Second)
		ask(w, "n2")
		w.expectTold("Warning AddressTrouble 192.0.2.10 is also used by node n2")
		for range 9 {
			time.Sleep(time.Second)
			ask(w, "n3")
			ask(w, "n2")
		}
		w.expectTold()
		time.Sleep(10 * time.Second)
		ask(w, "n3")
		w.expectTold("Warning AddressTrouble 192.0.2.10 is also used by node n3")
	})

	story(t, "an address that the lease has given to another member is told as given up", func(t *testing.T) {
		w := holding(t)
		w.elector.verdict = election.Lost
		ask(w, "n2")
		w.elector.grant(t)
		w.settle()
		w.expectTold("Warning AddressTrouble " + web + lost)
		w.elector.grant(t, web)
		w.settle()
		w.expectTold() // of a node that uses it beside this one
	})

	story(t, "the control plane's address", func(t *testing.T) {
		p := newPlane(t, false)
		p.elector.verdict = election.Confirmed
		var verdicts []election.Verdict
		ask := func(addr, node string) bool {
			defer synctest.Wait()
			return p.control.Dispute(netipMust(addr), node, func(v election.Verdict) { verdicts = append(verdicts, v) })
		}
		if ask("192.0.2.1", "n2") {
			t.Error("there is no right yet")
		}
		p.grant("control-plane failover")
		if ask("192.0.2.2", "n2") {
			t.Error("there is a right to 192.0.2.2")
		}
		for range 9 {
			if !ask("192.0.2.1", "n2") {
				t.Error("there is a right")
			}
			ask("192.0.2.1", "n3")
			time.Sleep(time.Second)
		}
		p.elector.verdict = election.Lost
		ask("192.0.2.1", "n2")
		warning := func(text string) agent.Event {
			return agent.Event{Type: corev1.EventTypeWarning, Reason: "AddressTrouble", Text: "control plane: 192.0.2.1" + text}
		}
		if d := cmp.Diff([]agent.Event{warning(" is also used by node n3"), warning(lost)}, p.told); d != "" {
			t.Error(d)
		}
		if n := len(verdicts); n != 19 || verdicts[0] != election.Confirmed || verdicts[18] != election.Lost {
			t.Errorf("verdicts: %v", verdicts)
		}
	})
}
