package election_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"daymark/internal/election"
)

// memberProc adds a process that is a member, made from a configuration with these changes.
func memberProc(w *world, name string, changes ...func(*election.MembersConfig)) *proc {
	return w.process(name, func(p *proc) election.Elector {
		cfg := election.MembersConfig{Config: p.config(), Group: "services"}
		for _, change := range changes {
			change(&cfg)
		}
		m, err := election.NewMembers(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		return m
	})
}

func claims(n int) []election.Claim {
	var out []election.Claim
	for i := range n {
		out = append(out, election.Claim{Name: fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250)})
	}
	return out
}

func members(w *world, names ...string) []*proc {
	var out []*proc
	for _, n := range names {
		out = append(out, memberProc(w, n))
	}
	return out
}

// started makes members that want the same, and runs them.
func started(w *world, all []election.Claim, names ...string) []*proc {
	ps := members(w, names...)
	for _, p := range ps {
		p.elector.Set(all)
		p.start()
	}
	return ps
}

// allTaken reports whether each of claims has a process that announces it. Others may still answer for what they passed.
func (w *world) allTaken(claims []election.Claim) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := map[string]bool{}
	for _, p := range w.procs {
		for _, r := range p.rights {
			taken[r.Claim] = taken[r.Claim] || !r.Passing && live(r, time.Now())
		}
	}
	return !slices.ContainsFunc(claims, func(c election.Claim) bool { return !taken[c.Name] })
}

// allHeld reports whether each of claims is held by exactly one of the processes.
func (w *world) allHeld(claims []election.Claim) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := map[string]int{}
	for _, p := range w.procs {
		for _, r := range union(p.rights, p.also) {
			if live(r, time.Now()) {
				held[r.Claim]++
			}
		}
	}
	for _, c := range claims {
		if held[c.Name] != 1 {
			return false
		}
	}
	return true
}

// allWithout reports whether each of claims is held, and none of them by node.
func (w *world) allWithout(node string, claims []election.Claim) bool {
	placed := w.placed()
	return w.allHeld(claims) && !slices.ContainsFunc(claims, func(c election.Claim) bool { return placed[c.Name] == node })
}

// placed returns who holds what.
func (w *world) placed() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]string{}
	for _, p := range w.procs {
		for _, r := range p.rights {
			if live(r, time.Now()) {
				out[r.Claim] = p.name
			}
		}
	}
	return out
}

func moved(before, after map[string]string) (n int, from, to map[string]int) {
	from, to = map[string]int{}, map[string]int{}
	for c, was := range before {
		if is := after[c]; is != was {
			n++
			from[was]++
			to[is]++
		}
	}
	return n, from, to
}

// longestOf returns the longest time that any of claims had nobody.
func (w *world) longestOf(claims []election.Claim) (worst time.Duration) {
	for _, c := range claims {
		worst = max(worst, w.longest(c.Name))
	}
	return worst
}

func TestMembers(t *testing.T) {
	story(t, "a thousand claims are spread, at one write a period and node", func(w *world) {
		all := claims(1000)
		ps := members(w, "a", "b", "c")
		for _, p := range ps {
			p.start()
			p.elector.Set(nil)
		}
		time.Sleep(4 * time.Second)
		for _, p := range ps {
			p.elector.Set(all)
		}
		took := w.await(time.Second, "all held", func() bool { return w.allHeld(all) })
		within(w.t, "taking a thousand claims", took, 50*time.Millisecond)
		time.Sleep(5 * time.Second)
		before := w.api.count()
		time.Sleep(60 * time.Second)
		if n := w.api.count() - before; n < 170 || n > 190 {
			w.t.Errorf("%d requests in 60 s at rest, want about 180: one a node and second", n)
		}
		count := map[string]int{}
		for _, node := range w.placed() {
			count[node]++
		}
		w.t.Logf("spread: %v", count)
	})

	story(t, "a claim that yields is passed to who can take it, and stays where nobody can", func(w *world) {
		all := claims(12)
		started(w, all, "a", "b", "c")
		w.await(3*time.Second, "all held", func() bool { return w.allHeld(all) })
		time.Sleep(10 * time.Second)
		w.forgiveGaps()
		one, before := all[0].Name, w.placed()
		yield := func(p *proc, yields bool) {
			mine := slices.Clone(all)
			mine[0].Yields = yields
			p.elector.Set(mine)
		}
		elsewhere := func(most time.Duration, than ...*proc) *proc {
			took := w.await(most, "with another", func() bool {
				return slices.ContainsFunc(w.holders(one), func(at string) bool {
					return !strings.HasSuffix(at, "*") && !slices.ContainsFunc(than, func(p *proc) bool { return p.name == at })
				})
			})
			w.t.Logf("with another after %v", took)
			time.Sleep(5 * time.Second)
			return w.holder(one)
		}
		first := w.holder(one)
		yield(first, true)
		second := elsewhere(60*time.Millisecond, first)
		yield(second, true)
		third := elsewhere(600*time.Millisecond, first, second) // the first would suit it better, as far as the third can see
		yield(third, true)
		time.Sleep(5 * time.Second)
		if at := w.holder(one); at != third {
			w.fail("with %s, although nobody takes it gladly", at.name)
		}
		yield(first, false)
		if at := elsewhere(60*time.Millisecond, second, third); at != first {
			w.fail("with %s, although the first takes it gladly", at.name)
		}
		yield(second, false)
		yield(third, false)
		time.Sleep(5 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims are elsewhere", n)
		}
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "what yields is taken by who yields too, where nobody else is left", func(w *world) {
		mine := claims(12)
		for i := range mine {
			mine[i].Yields = true
		}
		ps := started(w, mine, "a", "b")
		within(w.t, "taking what nobody takes gladly", w.await(3*time.Second, "all held", func() bool { return w.allHeld(mine) }), time.Second)
		time.Sleep(5 * time.Second)
		before := w.placed()
		time.Sleep(20 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims moved", n)
		}
		ps[0].shutdown()
		w.await(time.Second, "all held", func() bool { return w.allHeld(mine) })
	})

	story(t, "what is offered goes to who can take it, although another would suit it better", func(w *world) {
		all := claims(30)
		ps := started(w, all, "a", "b", "c")
		w.await(3*time.Second, "all held", func() bool { return w.allHeld(all) })
		time.Sleep(10 * time.Second)
		w.forgiveGaps()
		cut := slices.Clone(all)
		for i := range cut {
			cut[i].Yields = true
		}
		ps[0].elector.Set(cut)
		ps[1].elector.Set(cut)
		w.await(2*time.Second, "all with the third", func() bool { return w.allWith("c", all) })
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a member that had none, and seldom wrote, holds its first claim as soon, whenever that comes", func(w *world) {
		p := memberProc(w, "a")
		p.elector.Set(nil)
		p.start()
		one := claims(1)
		for i := range 30 {
			time.Sleep(10*time.Second + time.Duration(i)*173*time.Millisecond)
			p.elector.Set(one)
			within(w.t, "the first claim", w.await(2*time.Second, "held", func() bool { return w.allHeld(one) }), 60*time.Millisecond)
			p.elector.Set(nil)
		}
	})

	story(t, "a claim is held two round trips after it is known", func(w *world) {
		ps := members(w, "a", "b", "c")
		for _, p := range ps {
			p.path.setDelay(func() time.Duration { return 5 * time.Millisecond })
			p.elector.Set(claims(10))
			p.start()
		}
		time.Sleep(10*time.Second + 333*time.Millisecond)
		for _, p := range ps {
			p.elector.Set(claims(11))
		}
		took := w.await(time.Second, "the new one held", func() bool { return w.allHeld(claims(11)) })
		within(w.t, "taking a new claim", took, 25*time.Millisecond)
	})

	story(t, "a node that joins takes only what is its own, without a gap", func(w *world) {
		all := claims(300)
		for _, p := range members(w, "a", "b", "c") {
			p.elector.Set(all)
			p.start()
		}
		time.Sleep(10 * time.Second)
		before := w.placed()
		d := memberProc(w, "d")
		d.elector.Set(all)
		d.start()
		time.Sleep(3 * time.Second)
		after := w.placed()
		n, _, to := moved(before, after)
		if to["d"] != n || n < 50 || n > 100 {
			w.t.Errorf("%d of 300 moved, to %v: want about 75, all to d", n, to)
		}
		if gap := w.longestOf(all); gap > 0 || !w.allHeld(all) {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a node that leaves hands everything over without a gap", func(w *world) {
		all := claims(300)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		began := time.Now()
		ps[1].shutdown()
		within(w.t, "leaving", time.Since(began), 1200*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		_, from, _ := moved(before, w.placed())
		if len(from) != 1 || from["b"] == 0 {
			w.t.Errorf("claims moved from %v, want only from b", from)
		}
		if gap := w.longestOf(all); gap > 0 || !w.allHeld(all) {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a node that yields hands over, and takes back when it resumes", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		ps[0].elector.Yield()
		time.Sleep(3 * time.Second)
		if n := len(ps[0].held()); n > 0 {
			w.fail("a has %d claims", n)
		}
		ps[0].elector.Resume()
		time.Sleep(3 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims are elsewhere than before", n)
		}
		for _, p := range ps {
			p.elector.Yield()
		}
		time.Sleep(3 * time.Second)
		if gap := w.longestOf(all); gap > 0 || !w.allHeld(all) {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a killed node's claims are taken over when its lease has run out", func(w *world) {
		all := claims(90)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10*time.Second + 800*time.Millisecond)
		before := w.placed()
		ps[2].kill()
		took := w.await(10*time.Second, "all held by others", func() bool { return w.allWithout("c", all) })
		within(w.t, "the take-over", took, 5200*time.Millisecond)
		if _, from, _ := moved(before, w.placed()); len(from) != 1 {
			w.t.Errorf("claims moved from %v, want only from c", from)
		}
		for _, p := range ps[:2] {
			for _, r := range p.held() {
				if before[r.Claim] == "c" && !r.Failover {
					w.t.Errorf("%s: would be probed for, but the dead one held it", r.Claim)
				}
			}
		}
		ps[2].cont()
		time.Sleep(3 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims did not come back", n)
		}
	})

	story(t, "eligibility decides, and follows the claim's nodes", func(w *world) {
		ps := members(w, "a", "b", "c")
		at := func(nodes ...string) []election.Claim {
			return []election.Claim{{Name: "198.18.0.1", Nodes: nodes}}
		}
		for _, p := range ps {
			p.elector.Set(at("b"))
			p.start()
		}
		w.await(time.Second, "b holds", func() bool { return slices.Equal(w.holders("198.18.0.1"), []string{"b"}) })
		for _, p := range ps { // the endpoint moves; not everybody sees it at once
			p.elector.Set(at("c"))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if got := w.holder("198.18.0.1").name; got != "c" || w.longest("198.18.0.1") > 0 {
			w.fail("%s holds, nobody held for %v", got, w.longest("198.18.0.1"))
		}
		for _, p := range ps {
			p.elector.Set([]election.Claim{{Name: "198.18.0.1", Nodes: []string{}}})
		}
		time.Sleep(20 * time.Millisecond)
		if h := w.holders("198.18.0.1"); len(h) > 0 {
			w.fail("held by %v, though no node may", h)
		}
	})

	story(t, "a claim that only a worse node knows of is held by it", func(w *world) {
		ps := members(w, "a", "b", "c")
		for i, p := range ps {
			p.elector.Set(claims(30)[:10*(i+1)])
			p.start()
		}
		w.await(2*time.Second, "all held", func() bool { return w.allHeld(claims(30)) })
		time.Sleep(3 * time.Second)
		for _, p := range ps {
			p.elector.Set(claims(30))
		}
		time.Sleep(3 * time.Second)
		if gap := w.longestOf(claims(30)); gap > 0 || !w.allHeld(claims(30)) {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a claim that is not in the set any more is dropped at once", func(w *world) {
		p := memberProc(w, "a")
		p.elector.Set(claims(5))
		p.start()
		time.Sleep(time.Second)
		p.elector.Set(claims(4))
		time.Sleep(time.Millisecond)
		if n := len(p.held()); n != 4 {
			w.fail("%d claims held", n)
		}
	})

	story(t, "a restarted process keeps what its predecessor on the same host held", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		ps[0].kill()
		time.Sleep(time.Second)
		again := memberProc(w, "a")
		again.start()
		time.Sleep(500 * time.Millisecond) // the informers
		if again.applied() > 0 {
			w.fail("what the predecessor left was touched")
		}
		again.elector.Set(all)
		time.Sleep(100 * time.Millisecond)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims moved", n)
		}
		if again.applied() != 1 {
			w.t.Errorf("apply was called %d times, the first not with everything", again.applied())
		}
		w.forgive()
	})

	story(t, "a process that is started again after others took over leaves them alone until it knows what it wants", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		ps[0].kill()
		time.Sleep(8 * time.Second)
		w.forgiveGaps() // until the others had them
		again := memberProc(w, "a")
		again.start()
		time.Sleep(3 * time.Second) // the informers of a busy machine
		again.elector.Set(all)
		time.Sleep(3 * time.Second)
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims did not come back", n)
		}
	})

	story(t, "a node that was cut off comes back without a gap, whatever of what it wrote arrives late", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		for cut := 6 * time.Second; cut < 9*time.Second; cut += 130 * time.Millisecond {
			ps[0].path.cut()
			time.Sleep(cut)
			w.forgiveGaps() // until the others had them
			// Its API server is a straggler for a while: what it is told takes longer than what it says.
			ps[0].path.stall()
			ps[0].path.mend()
			time.Sleep(2 * time.Second)
			ps[0].path.unstall()
			time.Sleep(5 * time.Second)
			if gap := w.longestOf(all); gap > 0 {
				w.fail("after a cut of %v nobody held for %v", cut, gap)
			}
			if n, _, _ := moved(before, w.placed()); n > 0 {
				w.fail("%d claims did not come back", n)
			}
		}
	})

	story(t, "a stalled watch makes nobody look dead", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		ps[0].path.stall()
		time.Sleep(30 * time.Second)
		w.check()
		ps[0].path.breakWatches()
		time.Sleep(10 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 || !w.allHeld(all) {
			w.fail("%d claims moved", n)
		}
	})

	story(t, "a member lease that is deleted by hand ends no right", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10*time.Second + 500*time.Millisecond)
		before := w.placed()
		w.api.delete("kube-system", "kube-vip-member-services-a")
		time.Sleep(5 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 || w.longestOf(all) > 0 {
			w.fail("%d claims moved", n)
		}
		ps[0].kill()
		w.api.delete("kube-system", "kube-vip-member-services-a")
		took := w.await(10*time.Second, "others hold all", func() bool { return w.allWithout("a", all) })
		within(w.t, "the take-over", took, 5200*time.Millisecond)
	})

	story(t, "what Apply has not taken away yet stays listed", func(w *world) {
		all := claims(30)
		ps := started(w, all, "a", "b")
		time.Sleep(10 * time.Second)
		w.hook(func(p *proc, rights []election.Right) error {
			if p == ps[0] && len(rights) < 5 {
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		for i := range all {
			all[i].Nodes = []string{"b"}
		}
		ps[0].elector.Set(nil) // and the address is still in a's kernel
		ps[1].elector.Set(all)
		time.Sleep(2 * time.Second)
		w.check()
		w.await(2*time.Second, "b holds all", func() bool { return len(ps[1].held()) == len(all) })
	})

	story(t, "what another node held can't be probed for", func(w *world) {
		all := claims(30)
		ps := members(w, "a", "b")
		for _, p := range ps {
			p.elector.Set(all)
			p.start()
			time.Sleep(5 * time.Second)
		}
		for _, p := range ps {
			held := p.held()
			if len(held) == 0 {
				w.fail("%s holds nothing", p.name)
			}
			for _, r := range held {
				if r.Failover != (p == ps[1]) {
					w.t.Errorf("%s at %s: failover is %v", r.Claim, p.name, r.Failover)
				}
			}
		}
	})

	story(t, "members know candidates for leases", func(w *world) {
		ps := members(w, "a", "b", "c")
		for _, p := range ps {
			p.elector.(*election.Members).Stand("kube-system/x", p.name != "b")
			p.start()
		}
		time.Sleep(time.Second)
		got := ps[0].elector.(*election.Members).Candidates("kube-system/x")
		if len(got) != 1 || got[0].Node != "c" || got[0].Incarnation == "" {
			w.fail("candidates: %v", got)
		}
		ps[2].elector.Yield()
		time.Sleep(100 * time.Millisecond)
		if got := ps[0].elector.(*election.Members).Candidates("kube-system/x"); len(got) > 0 {
			w.fail("candidates: %v", got)
		}
	})

	story(t, "when the API server comes back work goes on", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		for _, p := range ps {
			p.path.cut()
		}
		time.Sleep(3010 * time.Millisecond)
		if n := len(w.placed()); n > 0 {
			w.fail("%d claims held without an API server past the renew deadline", n)
		}
		time.Sleep(20 * time.Second)
		for _, p := range ps {
			p.path.mend()
		}
		within(w.t, "going on", w.await(10*time.Second, "all taken", func() bool { return w.allTaken(all) }), 2*time.Second)
	})
}
