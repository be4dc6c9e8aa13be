package election_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"daymark/internal/election"
)

// controlPlane is a process as the agent runs it for the control plane: a lease, and members that know who could take it.
func controlPlane(w *world, name string) *proc {
	return w.process(name, func(p *proc) election.Elector {
		m, err := election.NewMembers(election.MembersConfig{Config: p.config(), Group: "control-plane"})
		if err != nil {
			w.t.Fatal(err)
		}
		l, err := election.NewLease(election.LeaseConfig{Config: p.config(), Name: leaseName, Peers: m})
		if err != nil {
			w.t.Fatal(err)
		}
		l.Set([]election.Claim{{Name: "cp"}})
		return both{l, m}
	})
}

// passingKinds are the ways to elect in which a right is passed to somebody.
func passingKinds() map[string]kind {
	all := claims(12)
	on := kinds()
	delete(on, "a lease")
	on["a lease whose candidates are members"] = kind{claims: []election.Claim{{Name: "cp"}}, process: controlPlane}
	on["some under a lease, the rest spread"] = kind{claims: all, process: func(w *world, name string) *proc {
		p := gatedProc(w, name)
		p.elector.Set(append(leased(all[:6]), all[6:]...))
		return p
	}}
	return on
}

// survivor has two of three processes die, the second one after all went from the first, and returns both and the third, which holds
// all that there is.
func (k kind) survivor(w *world) (first, second, third *proc) {
	ps := k.start(w)
	w.await(3*time.Second, "all held", func() bool { return w.allHeld(k.claims) })
	first = w.holder(k.claims[0].Name)
	first.kill()
	w.await(7*time.Second, "all with others", func() bool { return w.allHeld(k.claims) && len(first.living()) == 0 })
	time.Sleep(2500 * time.Millisecond)
	second = w.holder(k.claims[0].Name)
	second.kill()
	third = ps[slices.IndexFunc(ps, func(p *proc) bool { return p != first && p != second })]
	w.await(7*time.Second, "all with the third", func() bool { return w.allWith(third.name, k.claims) })
	time.Sleep(1500 * time.Millisecond)
	w.forgiveGaps()
	return first, second, third
}

// living returns the rights of p that have not run out.
func (p *proc) living() []election.Right {
	return slices.DeleteFunc(p.held(), func(r election.Right) bool { return !live(r, time.Now()) })
}

// TestEnded has nodes start while the record of a dead one still lists what it held: they can't have seen for how long it has been
// silent, but others have.
func TestEnded(t *testing.T) {
	for name, k := range passingKinds() {
		for _, age := range []time.Duration{300 * time.Millisecond, 2 * time.Second, 4 * time.Second} {
			story(t, fmt.Sprintf("%s: who started %v ago is passed what a third one held", name, age), func(w *world) {
				_, second, third := k.survivor(w)
				again := k.process(w, second.name)
				again.start()
				time.Sleep(age)
				third.elector.Yield()
				w.await(time.Second, "all passed", func() bool { return w.allWith(again.name, k.claims) || len(again.living()) == len(k.claims) })
				time.Sleep(5 * time.Second)
				if gap := w.longestOf(k.claims); gap > 0 || !w.allWith(again.name, k.claims) {
					w.fail("nobody held for %v", gap)
				}
			})
		}

		story(t, name+": who started a moment ago and goes again passes on, and not to the dead", func(w *world) {
			_, second, third := k.survivor(w)
			again := k.process(w, second.name)
			again.start()
			time.Sleep(300 * time.Millisecond)
			third.elector.Yield()
			time.Sleep(500 * time.Millisecond)
			third.elector.Resume()
			time.Sleep(200 * time.Millisecond)
			again.stop()
			w.await(300*time.Millisecond, "all passed on", func() bool { return len(third.living()) == len(k.claims) })
			time.Sleep(5 * time.Second)
			if gap := w.longestOf(k.claims); gap > 0 || !w.allWith(third.name, k.claims) {
				w.fail("nobody held for %v", gap)
			}
		})

		story(t, name+": a holder that is killed and started again keeps what a third one held before it", func(w *world) {
			_, _, third := k.survivor(w)
			third.kill()
			again := k.process(w, third.name)
			again.start()
			w.await(time.Second, "all held again", func() bool { return len(again.living()) == len(k.claims) })
			time.Sleep(5 * time.Second)
			if gap := w.longestOf(k.claims); gap > 0 || !w.allWith(third.name, k.claims) {
				w.fail("nobody held for %v", gap)
			}
		})

		story(t, name+": who starts when nobody is left believes who left last", func(w *world) {
			_, _, third := k.survivor(w)
			third.shutdown()
			fresh := k.process(w, "d")
			fresh.start()
			took := w.await(6*time.Second, "all held", func() bool { return len(fresh.living()) == len(k.claims) })
			within(w.t, "taking it", took, time.Second)
		})
	}

	all := claims(30)
	for age := 100 * time.Millisecond; age < 5*time.Second; age += 400 * time.Millisecond {
		story(t, fmt.Sprintf("what a node wrote before it was taken for dead has ended, not what it writes when it is back: %v", age), func(w *world) {
			ps := started(w, all, "a", "c")
			started(w, nil, "d") // has nothing, and writes seldom: what it says of a is old when a is back
			time.Sleep(10 * time.Second)
			a := ps[0]
			a.freeze()
			time.Sleep(15 * time.Second)
			a.cont()
			w.await(3*time.Second, "a holds again", func() bool { return len(a.living()) > 0 && w.allHeld(all) })
			time.Sleep(age)
			w.hook(func(p *proc, _ []election.Right) error {
				if p == a {
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			})
			b := memberProc(w, "b")
			b.elector.Set(all)
			b.start()
			w.await(3*time.Second, "b holds", func() bool { return len(b.living()) > 2 })
			time.Sleep(time.Second)
			w.hook(nil)
		})
	}
}
