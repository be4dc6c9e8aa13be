package election_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"daymark/internal/election"
)

// verify asks p whether its right to claim stands, and returns the verdict and how long it took.
func (p *proc) verify(claim string) (election.Verdict, time.Duration) {
	p.w.t.Helper()
	began, told := time.Now(), make(chan election.Verdict, 2)
	p.elector.Verify(claim, func(v election.Verdict) { told <- v })
	v := <-told
	synctest.Wait()
	return v, time.Since(began)
}

func (p *proc) expectVerdict(claim string, want election.Verdict, most time.Duration) {
	p.w.t.Helper()
	v, took := p.verify(claim)
	if v != want || took > most {
		p.w.t.Errorf("%s of %s: %s after %v, want %s within %v", claim, p.name, v, took, want, most)
	}
}

func TestVerify(t *testing.T) {
	const soon = 10 * time.Millisecond // a few ways to the API server and back

	story(t, "the lease's holder has its right confirmed by a renewal at once", func(w *world) {
		a := holderAndNext(w, 2500*time.Millisecond)
		before, _ := w.api.get("kube-system", leaseName)
		asked := time.Now()
		a.expectVerdict("cp", election.Confirmed, soon)
		after, _ := w.api.get("kube-system", leaseName)
		if before.ResourceVersion == after.ResourceVersion || after.Spec.RenewTime.Time.Before(asked.Truncate(time.Microsecond)) {
			w.t.Error("the lease was not renewed")
		}
		if w.holder("cp") != a {
			w.t.Errorf("held by %v", w.holders("cp"))
		}
	})

	story(t, "a lease that names another is given up at once, though the watch tells nothing", func(w *world) {
		a := holderAndNext(w, 2500*time.Millisecond)
		a.path.stall()
		w.api.edit("kube-system", leaseName, func(l *coordinationv1.Lease) { b := "b"; l.Spec.HolderIdentity = &b })
		time.Sleep(5 * time.Millisecond)
		if w.holder("cp") != a {
			w.fail("a knows already")
		}
		a.expectVerdict("cp", election.Lost, soon)
		if r := a.held(); len(r) > 0 {
			w.t.Errorf("a has %s still", text(r, time.Now()))
		}
		a.expectVerdict("cp", election.Lost, soon) // and for who asks later
	})

	story(t, "without an answer the right stands until its end", func(w *world) {
		a := holderAndNext(w, 2500*time.Millisecond)
		a.path.cut()
		a.expectVerdict("cp", election.Undecided, 1600*time.Millisecond)
		if w.holder("cp") != a {
			w.t.Errorf("held by %v", w.holders("cp"))
		}
		m := started(w, claims(1), "m")[0]
		time.Sleep(2500 * time.Millisecond)
		m.path.cut()
		m.expectVerdict(m.held()[0].Claim, election.Undecided, 1600*time.Millisecond)
		if len(m.held()) == 0 {
			w.t.Error("the member gave up")
		}
	})

	story(t, "what is being passed on is undecided, and lost when it is over", func(w *world) {
		a := holderAndNext(w, 2500*time.Millisecond)
		go a.stop()
		time.Sleep(100 * time.Millisecond)
		a.expectVerdict("cp", election.Undecided, 0)
		<-a.done
		a.expectVerdict("cp", election.Lost, 0)
		m := started(w, claims(1), "m")[0]
		time.Sleep(2500 * time.Millisecond)
		claim := m.held()[0].Claim
		m.shutdown()
		m.expectVerdict(claim, election.Lost, 0)
	})

	story(t, "however often it is asked, a renewal more a second is made, and everybody is answered", func(w *world) {
		for _, p := range []*proc{leaseProc(w, "a", nil), memberProc(w, "m")} {
			p.elector.Set([]election.Claim{{Name: p.name}})
			p.start()
			time.Sleep(5 * time.Second)
			before, asked := p.path.requests(), int64(0)
			var answers atomic.Int64
			for range 1000 {
				asked++
				p.elector.Verify(p.name, func(v election.Verdict) {
					if answers.Add(1); v != election.Confirmed {
						w.t.Errorf("%s: %s", p.name, v)
					}
				})
				time.Sleep(10 * time.Millisecond)
			}
			if n := p.path.requests() - before; n > 22 {
				w.t.Errorf("%s: %d requests in 10 s, want 20 at most, and some slack", p.name, n)
			}
			time.Sleep(time.Second)
			if answers.Load() != asked {
				w.t.Errorf("%s: %d answers to %d questions", p.name, answers.Load(), asked)
			}
		}
	})

	story(t, "a member's right is confirmed once a write of its own was delivered", func(w *world) {
		all := claims(4)
		ps := started(w, all, "a", "b")
		w.await(5*time.Second, "all held", func() bool { return w.allHeld(all) })
		time.Sleep(2500 * time.Millisecond)
		for _, c := range all {
			holder := w.holder(c.Name)
			holder.expectVerdict(c.Name, election.Confirmed, 1100*time.Millisecond)
			other := ps[0]
			if other == holder {
				other = ps[1]
			}
			other.expectVerdict(c.Name, election.Lost, 0)
		}
		ps[0].path.stall()
		// The watch tells nothing of the others, which is seen by the renew deadline.
		ps[0].expectVerdict(ps[0].held()[0].Claim, election.Undecided, 3100*time.Millisecond)
	})

	story(t, "a member whose Lease is another process's by now has lost everything at once", func(w *world) {
		all := claims(4)
		ps := started(w, all, "a", "b")
		w.await(5*time.Second, "all held", func() bool { return w.allHeld(all) })
		time.Sleep(2500 * time.Millisecond)
		a := ps[0]
		claim := a.held()[0].Claim
		a.path.stall()
		w.api.edit("kube-system", "kube-vip-member-services-a", func(l *coordinationv1.Lease) { x := "x"; l.Spec.HolderIdentity = &x })
		a.expectVerdict(claim, election.Lost, soon)
		if r := a.held(); slices.ContainsFunc(r, func(r election.Right) bool { return !r.Passing }) {
			w.t.Errorf("a has %s still", text(r, time.Now()))
		}
	})

	for _, of := range []string{"lease", "record"} {
		story(t, "what is leased stands while lease and record do: the "+of+" is another's", func(w *world) {
			all := leased(claims(2))
			ps := gatedWorld(w, all)
			var holder *proc
			for _, p := range ps {
				if p.name == w.leaseHolder() {
					holder = p
				}
			}
			object := servicesLease
			if of == "record" {
				object = "kube-vip-member-services-" + holder.name
			}
			time.Sleep(400 * time.Millisecond) // between renewals
			holder.expectVerdict(all[0].Name, election.Confirmed, 2*soon)
			time.Sleep(2 * time.Second)
			holder.path.stall()
			w.api.edit("kube-system", object, func(l *coordinationv1.Lease) { x := "x"; l.Spec.HolderIdentity = &x })
			holder.expectVerdict(all[0].Name, election.Lost, 2*soon)
			if fmt.Sprint(holder.held()) != "[]" {
				w.t.Errorf("%s has %s still", holder.name, text(holder.held(), time.Now()))
			}
		})
	}
}
