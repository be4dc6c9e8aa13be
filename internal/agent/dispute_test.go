package agent_test

import (
	"fmt"
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
		w.put(service("web", "192.0.2.9,"+web))
		ask(w, "n2") // under the name that the claim had before
		w.elector.grant(t)
		if ask(w, "n2") != nil {
			t.Error("asked for what is held no more")
		}
		if d := cmp.Diff([]string{web, web}, w.elector.asked); d != "" {
			t.Error(d)
		}
	})

	also := func(who string) []string {
		return []string{"Warning AddressTrouble " + web + " is also used by " + who}
	}
	stranger := func(who string) func(*world) { return func(w *world) { w.services.Conflict(netipMust(web), who) } }
	member := func(v election.Verdict) func(*world) {
		return func(w *world) {
			w.elector.verdict = v
			ask(w, "n2")
		}
	}
	loses := func(w *world) { w.elector.grant(w.t) }
	const second, minute = time.Second, time.Minute
	for name, c := range map[string]struct {
		first  func(*world)
		told   []string
		after  time.Duration // from the first to the next
		next   func(*world)
		toldOf []string
	}{
		"a member that is heard again within a minute": {member(election.Confirmed), nil, minute - 1, member(election.Confirmed), also("node n2")},
		"a member that is heard again a minute later":  {member(election.Confirmed), nil, minute, member(election.Confirmed), nil},
		"another stranger within 10 s":                 {stranger("A"), also("A"), 10*second - 1, stranger("B"), nil},
		"another stranger after 10 s":                  {stranger("A"), also("A"), 10 * second, stranger("B"), also("B")},
		"a stranger, who goes on":                      {stranger("A"), also("A"), minute, stranger("A"), nil},
		"a member that has it by the lease, while a stranger uses it": {
			stranger("A"), also("A"), 5 * second, func(w *world) { member(election.Lost)(w); loses(w) }, []string{"Warning AddressTrouble " + web + lost}},
		"a right that ends within a minute of the verdict": {member(election.Lost), nil, minute - 1, loses, []string{"Warning AddressTrouble " + web + lost}},
		"a right that ends later, of itself":               {member(election.Lost), nil, minute, loses, nil},
		"a change of the Service while a stranger is known to use it": {
			stranger("A"), also("A"), minute - 1, func(w *world) { w.put(service("web", web, local)) }, nil},
		"a change of the Service when that is long ago": {
			stranger("A"), also("A"), minute, func(w *world) { w.put(service("web", web, local)) }, []string{"Normal Held Held by n1 with ARP"}},
	} {
		story(t, name, func(t *testing.T) {
			w := holding(t)
			began := time.Now()
			c.first(w)
			w.expectTold(c.told...)
			time.Sleep(time.Until(began.Add(c.after)))
			c.next(w)
			w.expectTold(c.toldOf...)
		})
	}

	story(t, "what was heard long ago is forgotten", func(t *testing.T) {
		w := newWorld(t, nil)
		w.elector.verdict = election.Confirmed
		var addrs, claims []string
		for i := range 21 {
			addrs = append(addrs, prefixFrom(10, i).Addr().String())
			w.put(service(fmt.Sprint("web-", i), addrs[i]), slice(fmt.Sprint("web-", i), 0, "n1"))
		}
		for name := range w.elector.claims {
			claims = append(claims, name)
		}
		w.elector.grant(t, claims...)
		hear := func(addrs []string, want int) {
			t.Helper()
			for _, a := range addrs {
				w.services.Conflict(netipMust(a), "02:00:00:00:00:99")
				w.services.Dispute(netipMust(a), "n2", func(election.Verdict) {})
			}
			if n := w.services.Remembered(); n != want {
				t.Errorf("%d are remembered, not %d", n, want)
			}
		}
		hear(addrs[:20], 40)
		time.Sleep(time.Minute)
		hear(addrs[20:], 2)
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
		p.control.Conflict(netipMust("192.0.2.1"), "A")
		time.Sleep(10*time.Second - 1)
		p.control.Conflict(netipMust("192.0.2.1"), "B")
		time.Sleep(time.Nanosecond)
		p.control.Conflict(netipMust("192.0.2.1"), "C")
		warning := func(text string) agent.Event {
			return agent.Event{Type: corev1.EventTypeWarning, Reason: "AddressTrouble", Text: "control plane: 192.0.2.1" + text}
		}
		if d := cmp.Diff([]agent.Event{warning(" is also used by node n3"), warning(lost), warning(" is also used by C")}, p.told); d != "" {
			t.Error(d)
		}
		if n := len(verdicts); n != 19 || verdicts[0] != election.Confirmed || verdicts[18] != election.Lost {
			t.Errorf("verdicts: %v", verdicts)
		}
	})
}
