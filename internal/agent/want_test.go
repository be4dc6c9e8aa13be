package agent_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/agent"
)

// shape makes a want of 192.0.2.1 that is sure, has a right that ends after so many seconds (0: never), and is changed by each of how.
func shape(seconds int, how ...func(*agent.Want)) agent.Want {
	w := agent.Want{Address: addr("192.0.2.1"), Sure: true}
	if seconds > 0 {
		w.Until = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	for _, change := range how {
		change(&w)
	}
	return w
}

// has returns what a room has of its only address.
func (r *room) has() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.set) == 0 {
		return "-"
	}
	a := r.set[0]
	text := fmt.Sprintf("/%d", a.Prefix.Bits())
	if !a.Until.IsZero() {
		text += " " + time.Until(a.Until).String()
	}
	if a.Route.Leaving {
		text += " leaving"
	}
	return text
}

// TestWantsOfTwoSources has two sources want one address, each other than the other does.
func TestWantsOfTwoSources(t *testing.T) {
	quiet := func(w *agent.Want) { w.Quiet = true }
	passing := func(w *agent.Want) { w.Quiet, w.Passing = true, true }
	detached := func(w *agent.Want) { w.Detached = true }
	leaving := func(w *agent.Want) { w.Route.Leaving = true }
	wide := func(w *agent.Want) { w.Prefix = netip.PrefixFrom(w.Prefix.Addr(), 24) }
	unsure := func(w *agent.Want) { w.Sure = false }
	for name, c := range map[string]struct {
		a, b         func() agent.Want
		kernel, wire string
		listens      bool
	}{
		"the longer right": {
			func() agent.Want { return shape(4) }, func() agent.Want { return shape(9) }, "/32 9s", "/32 9s", false},
		"a right without an end": {
			func() agent.Want { return shape(4) }, func() agent.Want { return shape(0) }, "/32", "/32", false},
		"announced for no longer than the one that announces may": {
			func() agent.Want { return shape(9, quiet) }, func() agent.Want { return shape(4) }, "/32 4s", "/32 4s", false},
		"and for as long as that one may": {
			func() agent.Want { return shape(4, quiet) }, func() agent.Want { return shape(9) }, "/32 9s", "/32 9s", false},
		"quiet where both are": {
			func() agent.Want { return shape(4, quiet) }, func() agent.Want { return shape(9, quiet) }, "/32 9s", "-", false},
		"passed on by one, and by the other not announced": {
			func() agent.Want { return shape(4, passing) }, func() agent.Want { return shape(4, quiet) }, "/32 4s", "-", true},
		"passed on by one, and announced by the other": {
			func() agent.Want { return shape(4, passing) }, func() agent.Want { return shape(4) }, "/32 4s", "/32 4s", false},
		"on a link where one wants it there": {
			func() agent.Want { return shape(0, detached) }, func() agent.Want { return shape(0) }, "/32", "/32", false},
		"on no link where neither does": {
			func() agent.Want { return shape(0, detached) }, func() agent.Want { return shape(0, detached) }, "-", "/32", false},
		"leaving where both are": {
			func() agent.Want { return shape(0, leaving) }, func() agent.Want { return shape(0, leaving) }, "/32 leaving", "/32 leaving", false},
		"not where one is": {
			func() agent.Want { return shape(0, leaving) }, func() agent.Want { return shape(0) }, "/32", "/32", false},
		"the longer prefix": {
			func() agent.Want { return shape(0, wide) }, func() agent.Want { return shape(0) }, "/32", "/32", false},
		"at once where one is sure": {
			func() agent.Want { return shape(0, unsure) }, func() agent.Want { return shape(0) }, "/32", "/32", false},
	} {
		for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
			story(t, name+", "+order[0]+" first", func(t *testing.T) {
				r := newRig(t, nil)
				if c.listens { // it was held
					r.apply(order[0], shape(4))
				}
				r.Set(order[0], []agent.Want{c.a()})
				r.apply(order[1], c.b())
				if r.lan.probed != nil {
					t.Error("probed for")
				}
				if d := cmp.Diff([]string{c.kernel, c.wire}, []string{r.kernel.has(), r.wire.has()}); d != "" {
					t.Error("of kernel and wire:", d)
				}
				if listens := len(r.lan.ears) > 0; listens != c.listens {
					t.Errorf("it listens for a successor: %v", listens)
				}
			})
		}
	}

	story(t, "addresses of several sources are one set", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.2", "192.0.2.4")...)
		r.apply("b", want("192.0.2.3", "192.0.2.1", "192.0.2.2", "192.0.2.5")...)
		r.expect("kernel +192.0.2.2", "kernel +192.0.2.4", "wire +192.0.2.2", "wire +192.0.2.4",
			"kernel +192.0.2.1", "kernel +192.0.2.3", "kernel +192.0.2.5", "wire +192.0.2.1", "wire +192.0.2.3", "wire +192.0.2.5")
		r.apply("a")
		r.expect("wire -192.0.2.4", "kernel -192.0.2.4")
	})

	story(t, "one source that wants an address twice wants it once", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", shape(4), want("192.0.2.2")[0], shape(9, wide))
		r.expect("kernel +192.0.2.1", "kernel +192.0.2.2", "wire +192.0.2.1", "wire +192.0.2.2")
		if got, want := r.wire.has(), "/32 9s"; got != want {
			t.Errorf("announced %q, not %q", got, want)
		}
	})
}
