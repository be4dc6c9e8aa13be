package election_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"daymark/internal/election"
)

// expectRights tells of every right whose history is another: how names it, "" for one that nobody had.
func (w *world) expectRights(ps []*proc, how string) {
	w.t.Helper()
	n := 0
	for _, p := range ps {
		for _, r := range p.held() {
			n++
			is := ""
			switch {
			case r.Failover:
				is = "another had it"
			case r.Contended:
				is = "contended"
			}
			if is != how {
				w.t.Errorf("%s at %s: %q, want %q", r.Claim, p.name, is, how)
			}
		}
	}
	if n == 0 {
		w.fail("nobody holds anything")
	}
}

// TestTried has nodes take what nobody held, as far as they can know: an address may be a stranger's then.
func TestTried(t *testing.T) {
	for _, apart := range []time.Duration{0, 2 * time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond} {
		story(t, fmt.Sprintf("nodes that start %v apart have what nobody held, and fail over and pass on what they did", apart), func(w *world) {
			all := claims(60)
			w.hook(func(p *proc, rights []election.Right) error {
				for _, r := range rights {
					if r.Failover {
						w.t.Errorf("%s at %s: would not be probed for, but nobody held it", r.Claim, p.name)
					}
				}
				return nil
			})
			ps := members(w, "a", "b", "c")
			for _, p := range ps {
				p.elector.Set(all)
				p.start()
				time.Sleep(apart)
			}
			w.await(3*time.Second, "all held", func() bool { return w.allHeld(all) })
			time.Sleep(200 * time.Millisecond)
			w.hook(nil)
			time.Sleep(3 * time.Second)
			w.check()

			before := w.placed()
			ps[0].elector.Yield()
			time.Sleep(3 * time.Second)
			passed := 0
			for _, p := range ps[1:] {
				for _, r := range p.held() {
					if before[r.Claim] == "a" {
						passed++
						if !r.Failover {
							w.t.Errorf("%s at %s: would be probed for, but it was passed", r.Claim, p.name)
						}
					}
				}
			}
			before = w.placed()
			ps[1].kill()
			w.await(7*time.Second, "all with others", func() bool { return w.allWithout("b", all) })
			died := 0
			for _, p := range []*proc{ps[0], ps[2]} {
				for _, r := range p.held() {
					if before[r.Claim] == "b" {
						died++
						if !r.Failover {
							w.t.Errorf("%s at %s: would be probed for, but the dead one held it", r.Claim, p.name)
						}
					}
				}
			}
			if passed < 5 || died < 5 {
				w.fail("%d were passed, %d died", passed, died)
			}
		})
	}

	story(t, "the best node hears of a claim late", func(w *world) {
		all := claims(30)
		ps := started(w, nil, "a", "b", "c")
		time.Sleep(10 * time.Second)
		for _, p := range ps[1:] {
			p.elector.Set(all)
		}
		time.Sleep(400 * time.Millisecond) // the others take it instead after a quarter of a second
		ps[0].elector.Set(all)
		time.Sleep(100 * time.Millisecond)
		w.expectRights(ps[:1], "contended")
	})

	story(t, "who comes later and sees it held for the first time can't tell for how long it was", func(w *world) {
		all := claims(30)
		ps := members(w, "a", "b")
		for _, p := range ps {
			p.elector.Set(all)
			p.start()
			time.Sleep(2 * time.Second)
		}
		w.expectRights(ps[1:], "another had it")
	})

	story(t, "what a stranger has is nobody's, however long a node has the right to it, and whoever gets that from it", func(w *world) {
		all := claims(30)
		foreign := slices.Clone(all)
		for i := range foreign {
			foreign[i].Foreign = true
		}
		a := started(w, all, "a")[0]
		time.Sleep(20 * time.Millisecond)
		a.elector.Set(foreign)
		time.Sleep(time.Minute)
		b := started(w, all, "b")[0]
		time.Sleep(5 * time.Second)
		w.expectRights([]*proc{b}, "contended")
		b.elector.Set(foreign)
		time.Sleep(5 * time.Second)
		a.kill()
		w.await(7*time.Second, "all with b", func() bool { return w.allWithout("a", all) })
		w.expectRights([]*proc{b}, "contended")
		time.Sleep(5 * time.Second)
		b.elector.Set(all) // it is gone
		time.Sleep(5 * time.Second)
		c := started(w, all, "c")[0]
		time.Sleep(5 * time.Second)
		w.expectRights([]*proc{c}, "another had it")
	})
}

// TestForeignLease has the holder of a lease know that a stranger has what it is for.
func TestForeignLease(t *testing.T) {
	foreign := []election.Claim{{Name: "cp", Foreign: true}}
	for how, leave := range map[string]func(*proc){"passes it on": (*proc).shutdown, "dies": (*proc).kill} {
		story(t, "the holder "+how, func(w *world) {
			peers := newPeers("a", "b", "c", "d")
			var ps []*proc
			for _, name := range []string{"a", "b", "c", "d"} {
				ps = append(ps, leaseProc(w, name, peers))
			}
			next := func(p *proc, how string) {
				w.t.Helper()
				w.await(7*time.Second, p.name+" holds", func() bool { return slices.Equal(w.holders("cp"), []string{p.name}) })
				w.expectRights([]*proc{p}, how)
			}
			ps[0].start()
			next(ps[0], "")
			ps[0].elector.Set(foreign)
			ps[1].start()
			time.Sleep(3 * time.Second)
			leave(ps[0])
			next(ps[1], "contended")
			ps[1].elector.Set(foreign) // it looked for itself
			ps[2].start()
			time.Sleep(3 * time.Second)
			leave(ps[1])
			next(ps[2], "contended")
			ps[2].elector.Set(foreign)
			ps[3].start()
			time.Sleep(3 * time.Second)
			ps[2].elector.Set([]election.Claim{{Name: "cp"}})
			time.Sleep(3 * time.Second)
			leave(ps[2])
			next(ps[3], "another had it") // ps[2] found it free
		})
	}

	story(t, "a foreign elector that takes the lease may have it after all", func(w *world) {
		a := leaseProc(w, "a", newPeers("a"))
		a.elector.Set(foreign)
		a.start()
		time.Sleep(3 * time.Second)
		w.api.edit("kube-system", leaseName, func(lease *coordinationv1.Lease) { *lease.Spec.HolderIdentity = "kube-vip" })
		time.Sleep(time.Second)
		w.await(7*time.Second, "a has it again", func() bool { return len(a.held()) == 1 })
		w.expectRights([]*proc{a}, "another had it")
	})

	story(t, "what nobody took over is not another's when it is back", func(w *world) {
		peers := newPeers("a")
		peers.ghosts = []election.Candidate{{Node: "x", Incarnation: "x/1"}}
		a := leaseProc(w, "a", peers)
		a.elector.Set(foreign)
		a.start()
		time.Sleep(3 * time.Second)
		a.elector.Yield()
		time.Sleep(3 * time.Second)
		w.expectRights([]*proc{a}, "")
	})
}
