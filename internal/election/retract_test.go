package election_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"daymark/internal/election"
)

// at returns claims that only nodes may hold.
func at(claims []election.Claim, nodes ...string) []election.Claim {
	out := slices.Clone(claims)
	for i := range out {
		out[i].Nodes = nodes
	}
	return out
}

// TestRetract has nodes change their minds, or what they know, half way through a step of [election.Members].
func TestRetract(t *testing.T) {
	story(t, "a claim whose right lapsed stays listed until it is in the kernel no more, whoever may have it now", func(w *world) {
		one := claims(1)
		ps := started(w, one, "a", "b")
		time.Sleep(10 * time.Second)
		h, other := ps[0], ps[1]
		if w.holder(one[0].Name) != h {
			h, other = other, h
		}
		w.hook(func(p *proc, rights []election.Right) error {
			if p == h && len(rights) == 0 {
				time.Sleep(1500 * time.Millisecond)
			}
			return nil
		})
		h.path.setRefuse(errors.New("refused"))
		w.await(4*time.Second, "the right has lapsed", func() bool { return len(h.held()) == 0 })
		for _, p := range ps {
			p.elector.Set(at(one, other.name))
		}
		h.path.setRefuse(nil)
		w.await(3*time.Second, "the other holds", func() bool { return len(other.held()) == 1 })
	})

	story(t, "who stood for a claim and does not any more before it is passed does not get it", func(w *world) {
		all := claims(20)
		ps := started(w, all, "a", "b")
		time.Sleep(10 * time.Second)
		ps[1].elector.Yield()
		w.await(3*time.Second, "a holds all", func() bool { return len(ps[0].held()) == len(all) })
		time.Sleep(3 * time.Second)
		var got atomic.Bool
		w.hook(func(p *proc, rights []election.Right) error {
			if p == ps[1] && len(rights) > 0 {
				got.Store(true)
			}
			if p == ps[0] && slices.ContainsFunc(rights, func(r election.Right) bool { return r.Passing }) {
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		})
		ps[1].elector.Resume()
		time.Sleep(100 * time.Millisecond)
		ps[1].elector.Yield()
		time.Sleep(5 * time.Second)
		w.hook(nil)
		if got.Load() {
			w.fail("b got some")
		}
		if gap := w.longestOf(all); gap > 0 || len(ps[0].held()) != len(all) {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "who could not renew by the deadline takes nothing, whatever its watch tells", func(w *world) {
		one := claims(1)
		ps := started(w, at(one, "b"), "a", "b")
		time.Sleep(10 * time.Second)
		const slow = 3200 * time.Millisecond // more than the renew deadline, and less than the watch is trusted for
		var late atomic.Bool
		w.hook(func(p *proc, rights []election.Right) error {
			if p == ps[0] && len(rights) > 0 {
				late.Store(true)
			}
			if p == ps[1] && slices.ContainsFunc(rights, func(r election.Right) bool { return r.Passing }) {
				time.Sleep(slow)
			}
			return nil
		})
		for _, p := range ps {
			p.elector.Set(at(one, "a"))
		}
		time.Sleep(100 * time.Millisecond) // a lists it, and b gets ready to pass it
		ps[0].path.setRefuse(errors.New("refused"))
		time.Sleep(slow + time.Second)
		if late.Load() {
			w.fail("a took it")
		}
		w.hook(nil)
		ps[0].path.setRefuse(nil)
		w.await(3*time.Second, "a holds", func() bool { return len(ps[0].held()) == 1 })
	})

	story(t, "who is not the best leaves a claim to who has it", func(w *world) {
		all := claims(30)
		ps := started(w, nil, "a", "b", "c")
		time.Sleep(3 * time.Second)
		var seen []map[string]string
		for _, p := range slices.Backward(ps) { // c knows of them first, then b, then a
			p.elector.Set(all)
			w.await(3*time.Second, "all held", func() bool { return w.allHeld(all) })
			time.Sleep(3 * time.Second)
			seen = append(seen, w.placed())
		}
		if gap := w.longestOf(all); gap > 0 || len(ps[0].held()) < 5 {
			w.fail("nobody held for %v", gap)
		}
		for _, r := range ps[0].held() {
			if by := seen[1][r.Claim]; by != "c" {
				w.fail("%s is a's, and went to %s before a knew of it", r.Claim, by)
			}
		}
	})

	story(t, "who waits for a dead one's end takes over then, not with its next renewal", func(w *world) {
		one := claims(1)
		a := memberProc(w, "a")
		a.elector.Set(one)
		a.start()
		time.Sleep(3 * time.Second)
		a.kill()
		b := memberProc(w, "b")
		b.start()
		began := time.Now()
		time.Sleep(500 * time.Millisecond)
		b.elector.Set(at(one, "b")) // it lists it now, long before it may have it
		w.await(7*time.Second, "b holds", func() bool { return len(b.held()) == 1 })
		within(w.t, "the take-over", time.Since(began), 5050*time.Millisecond)
	})
}

// TestGoneWhilePassed has all claims end while one node passes its own on.
func TestGoneWhilePassed(t *testing.T) {
	for when, after := range map[string]time.Duration{"about to be": 0, "being": 300 * time.Millisecond} {
		story(t, "a claim that is not in the set any more while it is "+when+" passed on is dropped at once, by both", func(w *world) {
			all := claims(60)
			ps := started(w, all, "a", "b", "c")
			time.Sleep(10 * time.Second)
			ps[0].elector.Yield()
			start := time.Now()
			passes := func() bool {
				return slices.ContainsFunc(ps[0].held(), func(r election.Right) bool { return r.Passing })
			}
			for !passes() && time.Since(start) < time.Second {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(after)
			if !passes() {
				w.fail("nothing is passed on")
			}
			for _, p := range ps {
				p.elector.Set(nil)
			}
			time.Sleep(5 * time.Millisecond)
			for _, p := range ps {
				if held := p.held(); len(held) > 0 {
					w.fail("%s has %v", p.name, held)
				}
			}
			time.Sleep(5 * time.Second)
			ps[0].elector.Resume()
			for _, p := range ps {
				p.elector.Set(all)
			}
			time.Sleep(3 * time.Second)
			if !w.allHeld(all) {
				w.fail("not all are held again")
			}
		})
	}
}
