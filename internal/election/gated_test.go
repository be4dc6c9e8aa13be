package election_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"daymark/internal/election"
)

func gatedProc(w *world, name string) *proc {
	return w.process(name, func(p *proc) election.Elector {
		g, _ := gated(w, p.config(), p.config())
		return g
	})
}

// gated is the elector of Services and the members that it gives them to.
func gated(w *world, cfg, lease election.Config) (*election.Gated, *election.Members) {
	m, err := election.NewMembers(election.MembersConfig{Config: cfg, Group: "services"})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := election.NewLease(election.LeaseConfig{Config: lease, Name: servicesLease, Peers: m})
	if err != nil {
		w.t.Fatal(err)
	}
	return election.NewGated(l, m), m
}

const servicesLease = "kube-vip-services"

func leased(claims []election.Claim) []election.Claim {
	out := make([]election.Claim, len(claims))
	for i, c := range claims {
		c.Leased = true
		out[i] = c
	}
	return out
}

// leaseHolder returns the node that has the lease.
func (w *world) leaseHolder() string {
	lease, err := w.api.get("kube-system", servicesLease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// leads returns the one of ps that has the lease.
func (w *world) leads(ps []*proc) *proc {
	w.t.Helper()
	i := slices.IndexFunc(ps, func(p *proc) bool { return p.name == w.leaseHolder() })
	if i < 0 {
		w.fail("nobody has the lease")
	}
	return ps[i]
}

// allWith reports whether node, and nobody else, holds every one of claims.
func (w *world) allWith(node string, claims []election.Claim) bool {
	placed := w.placed()
	for _, c := range claims {
		if placed[c.Name] != node {
			return false
		}
	}
	return node != "" && w.allHeld(claims)
}

// gatedWorld is three processes that stand for claims, settled.
func gatedWorld(w *world, claims []election.Claim) []*proc {
	var ps []*proc
	for _, name := range []string{"a", "b", "c"} {
		p := gatedProc(w, name)
		p.elector.Set(claims)
		p.start()
		ps = append(ps, p)
	}
	w.await(3*time.Second, "all held", func() bool { return w.allHeld(claims) })
	time.Sleep(10 * time.Second)
	w.forgiveGaps()
	return ps
}

func TestGated(t *testing.T) {
	all := claims(12)
	story(t, "what is leased is with the lease's holder, the rest is spread", func(w *world) {
		ps := gatedWorld(w, append(leased(all[:6]), all[6:]...))
		h := w.leads(ps)
		if !w.allWith(h.name, all[:6]) || w.allWith(h.name, all[6:]) {
			w.fail("%s has the lease: %v", h.name, w.placed())
		}
	})

	story(t, "the holder is stopped: everything is passed on", func(w *world) {
		ps := gatedWorld(w, leased(all))
		h := w.leads(ps)
		h.shutdown()
		if took := w.await(time.Second, "all with the successor", func() bool { return w.allWith(w.leaseHolder(), all) }); took > 0 {
			w.t.Logf("with the successor %v after the end of the predecessor", took)
		}
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "the lease yields while all that it is for does", func(w *world) {
		ps := gatedWorld(w, leased(all))
		h := w.leads(ps)
		mine := leased(all)
		for i := range mine[1:] {
			mine[i].Yields = true
		}
		h.elector.Set(mine)
		time.Sleep(5 * time.Second)
		if !w.allWith(h.name, all) {
			w.fail("the lease went from %s although one of its claims does not yield: %v", h.name, w.placed())
		}
		mine[len(mine)-1].Yields = true
		h.elector.Set(mine)
		w.await(time.Second, "all with another", func() bool { return w.leaseHolder() != h.name && w.allWith(w.leaseHolder(), all) })
		h.elector.Yield()
		h.elector.Resume() // and yields still
		second := w.leads(ps)
		second.shutdown()
		w.await(time.Second, "all with the third", func() bool { return w.leaseHolder() != h.name && w.allWith(w.leaseHolder(), all) })
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "the holder yields, and resumes", func(w *world) {
		ps := gatedWorld(w, leased(all))
		h := w.leads(ps)
		h.elector.Yield()
		w.await(time.Second, "all with another", func() bool { return w.leaseHolder() != h.name && w.allWith(w.leaseHolder(), all) })
		h.elector.Resume()
		time.Sleep(10 * time.Second)
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "the holder yields when all others have just lost the API server, and keeps everything", func(w *world) {
		ps := gatedWorld(w, leased(all))
		h := w.leads(ps)
		for _, p := range ps {
			if p != h {
				p.path.cut()
			}
		}
		h.elector.Yield()
		time.Sleep(20 * time.Second)
		if gap := w.longestOf(all); gap > 0 || !w.allWith(h.name, all) {
			w.fail("nobody held for %v: %v", gap, w.placed())
		}
	})

	story(t, "the holder dies", func(w *world) {
		ps := gatedWorld(w, leased(all))
		h := w.leads(ps)
		h.kill()
		took := w.await(7*time.Second, "all with another", func() bool { return w.leaseHolder() != h.name && w.allWith(w.leaseHolder(), all) })
		within(w.t, "fail-over", took, 6*time.Second)
	})

	story(t, "the holder dies while a stranger has one of the addresses: that one is probed for", func(w *world) {
		ps := gatedWorld(w, leased(all))
		h := w.leads(ps)
		mine := leased(all)
		mine[0].Foreign = true
		h.elector.Set(mine)
		time.Sleep(5 * time.Second)
		h.kill()
		w.await(7*time.Second, "all with another", func() bool { return w.leaseHolder() != h.name && w.allWith(w.leaseHolder(), all) })
		for _, r := range w.leads(ps).held() {
			if foreign := r.Claim == all[0].Name; r.Contended != foreign || r.Failover == foreign {
				w.t.Errorf("%+v: only %s was a stranger's, the rest was the dead holder's", r, all[0].Name)
			}
		}
	})

	story(t, "a foreign elector has the lease and dies: what it had may be in its kernel, and is not probed for", func(w *world) {
		theirs := w.process("theirs", func(p *proc) election.Elector {
			l, err := election.NewLease(election.LeaseConfig{Config: p.config(), Name: servicesLease})
			if err != nil {
				w.t.Fatal(err)
			}
			l.Set(all[:1])
			return l
		})
		theirs.start()
		time.Sleep(3 * time.Second)
		ours := gatedProc(w, "ours")
		ours.elector.Set(append(leased(all[:6]), all[6:]...))
		ours.start()
		time.Sleep(5 * time.Second)
		theirs.kill()
		w.await(7*time.Second, "all with ours", func() bool { return len(ours.held()) == len(all) })
		for _, r := range ours.held() {
			leased := slices.ContainsFunc(all[:6], func(c election.Claim) bool { return c.Name == r.Claim })
			if r.Failover != leased {
				w.t.Errorf("%+v: want Failover %v", r, leased)
			}
		}
	})

	story(t, "an agent that is replaced keeps what it has", func(w *world) {
		ps := gatedWorld(w, append(leased(all[:6]), all[6:]...))
		h := w.leads(ps)
		h.kill()
		next := gatedProc(w, h.name)
		next.start()
		time.Sleep(500 * time.Millisecond) // it reads its Services
		next.elector.Set(append(leased(all[:6]), all[6:]...))
		w.await(2*time.Second, "all held", func() bool { return w.allWith(h.name, all[:6]) && w.allHeld(all) })
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})

	story(t, "a foreign elector takes the lease: nobody else holds what it is for", func(w *world) {
		gatedWorld(w, append(leased(all[:6]), all[6:]...))
		w.api.edit("kube-system", servicesLease, func(lease *coordinationv1.Lease) {
			by := "kube-vip"
			lease.Spec.HolderIdentity = &by
			delete(lease.Annotations, "kube-vip.io/incarnation")
		})
		time.Sleep(300 * time.Millisecond)
		for _, c := range all[:6] {
			if who := w.holders(c.Name); len(who) > 0 {
				w.fail("%s is held by %v", c.Name, who)
			}
		}
		if !w.allHeld(all[6:]) {
			w.fail("what is spread is not held")
		}
	})
}

// TestGatedEnds has a holder renew its member lease longer than the lease of Services, which it shares with an elector that knows
// nothing of members, such as kube-vip's.
func TestGatedEnds(t *testing.T) {
	one := claims(1)[0]
	for cut := 100 * time.Millisecond; cut < 3*time.Second; cut += 400 * time.Millisecond {
		story(t, fmt.Sprintf("cut from the lease, and frozen %v later", cut), func(w *world) {
			to := newPath(w.api)
			defer to.mend()
			ours := w.process("ours", func(p *proc) election.Elector {
				lease := p.config()
				lease.Client = to
				g, _ := gated(w, p.config(), lease)
				return g
			})
			ours.elector.Set(leased([]election.Claim{one}))
			ours.start()
			time.Sleep(3 * time.Second)
			theirs := w.process("theirs", func(p *proc) election.Elector {
				l, err := election.NewLease(election.LeaseConfig{Config: p.config(), Name: servicesLease})
				if err != nil {
					w.t.Fatal(err)
				}
				l.Set([]election.Claim{one})
				return l
			})
			theirs.start()
			time.Sleep(7 * time.Second)
			if w.holder(one.Name) != ours {
				w.fail("held by %v", w.holders(one.Name))
			}
			to.cut()
			time.Sleep(cut)
			ours.freeze()
			w.await(8*time.Second, "theirs holds", func() bool { return len(theirs.held()) == 1 })
		})
	}
}

// TestGatedViews changes what the nodes take a claim for, one node after the other, in every order, and at every pace.
func TestGatedViews(t *testing.T) {
	all := claims(12)
	local := make([]election.Claim, len(all)) // policy Local: the endpoints are on b
	for i, c := range all {
		c.Nodes = []string{"b"}
		local[i] = c
	}
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	stays := election.Claim{Name: "reports", Leased: true} // so that the lease has a holder throughout
	for what, other := range map[string][]election.Claim{"spread": append(all[:12:12], stays), "local": append(local, stays)} {
		for _, order := range orders {
			for _, lag := range []time.Duration{0, 5 * time.Millisecond, 40 * time.Millisecond, 300 * time.Millisecond, 4 * time.Second} {
				story(t, fmt.Sprintf("%s %v %v", what, order, lag), func(w *world) {
					one := append(leased(all), stays)
					ps := gatedWorld(w, one)
					for _, set := range [][]election.Claim{other, one, other} {
						for _, i := range order {
							ps[i].elector.Set(set)
							time.Sleep(lag)
						}
						w.await(3*time.Second, "all held", func() bool { return w.allHeld(all) })
						time.Sleep(3 * time.Second)
						if set[0].Leased && !w.allWith(w.leaseHolder(), all) {
							w.fail("%s has the lease: %v", w.leaseHolder(), w.placed())
						}
						// Where views differ for long, what a node doesn't know costs a moment of nobody.
						most := map[bool]time.Duration{lag > time.Second: time.Second}[true]
						if what == "local" {
							most = 3 * lag
						}
						if gap := w.longestOf(all); gap > most {
							w.fail("nobody held for %v", gap)
						}
						w.check()
					}
				})
			}
		}
	}
}

func TestSimulatedGated(t *testing.T) {
	simulate(t, "seed", func(t *testing.T, w *world, rng *rand.Rand) {
		all := leased(claims(8))
		f := &fate{w: w, rng: rng, luck: rand.New(rand.NewPCG(rng.Uint64(), 2)), names: []string{"a", "b", "c"}, alive: map[string]*proc{}}
		view := func() []election.Claim {
			var out []election.Claim
			for i, c := range all {
				c.Leased = rng.IntN(2) == 0
				if i > 0 && rng.IntN(8) == 0 && len(out) > 0 {
					out[len(out)-1] = together(out[len(out)-1], c)
					continue
				}
				if !c.Leased && rng.IntN(3) == 0 {
					c.Nodes = []string{f.names[rng.IntN(len(f.names))]}
				}
				out = append(out, c)
			}
			return out
		}
		f.make = func(name string) *proc {
			p := gatedProc(w, name)
			p.elector.Set(view())
			return p
		}
		f.churn = func(p *proc) { p.elector.Set(view()) }
		w.hook(f.apply)
		f.play(90 * time.Second)
		w.hook(nil)
		for _, p := range f.alive {
			p.elector.Set(all)
		}
		took := w.await(25*time.Second, "every claim with the lease's holder", func() bool { return w.allWith(w.leaseHolder(), all) })
		time.Sleep(15 * time.Second)
		before := w.placed()
		time.Sleep(20 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 || !w.allWith(w.leaseHolder(), all) {
			w.fail("%d claims moved in peace; %s has the lease: %v", n, w.leaseHolder(), w.placed())
		}
		t.Logf("peace after %v", took)
	})
}
