package election_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"daymark/internal/election"
)

// both is a process as the agent runs it: the control plane's Lease, and beside it the process's members, which are its Peers, or
// the elector of Services over them.
type both struct {
	*election.Lease
	beside election.Elector
}

func (b both) Run(ctx context.Context, apply election.Apply) error {
	done := make(chan error)
	go func() {
		done <- b.beside.Run(ctx, func(context.Context, []election.Right) error { return nil })
	}()
	if err := b.Lease.Run(ctx, apply); err != nil {
		return err
	}
	return <-done
}

func TestLeaseWithMembers(t *testing.T) {
	story(t, "a lease is passed to a member that stands for it, and back", func(w *world) {
		for _, name := range []string{"a", "b", "c"} {
			controlPlane(w, name).start()
		}
		time.Sleep(5 * time.Second)
		first := w.holder("cp")
		first.elector.Yield()
		w.await(100*time.Millisecond, "another one holds", func() bool {
			return slices.ContainsFunc(w.holders("cp"), func(n string) bool { return n != first.name && n != first.name+"*" })
		})
		time.Sleep(3 * time.Second)
		second := w.holder("cp")
		first.elector.Resume()
		time.Sleep(time.Second)
		second.shutdown()
		w.holder("cp")
		lease, _ := w.api.get("kube-system", leaseName)
		if *lease.Spec.LeaseTransitions != 2 || w.longest("cp") > 0 {
			w.fail("%d transitions, want 2; nobody held for %v", *lease.Spec.LeaseTransitions, w.longest("cp"))
		}
	})
}

func TestCostAtRest(t *testing.T) {
	for name, spread := range map[string]int{"all Services under one lease": 0, "and some spread": 30} {
		story(t, name, func(w *world) {
			for _, name := range []string{"a", "b", "c"} {
				w.process(name, func(p *proc) election.Elector {
					cfg := p.config()
					cfg.Pace = new(election.Pace)
					services, m := gated(w, cfg, cfg)
					all := claims(10 + spread)
					services.Set(append(leased(all[:10]), all[10:]...))
					l, err := election.NewLease(election.LeaseConfig{Config: cfg, Name: leaseName, Peers: m})
					if err != nil {
						w.t.Fatal(err)
					}
					l.Set([]election.Claim{{Name: "cp"}})
					return both{l, services}
				}).start()
				time.Sleep(2 * time.Second) // the first one gets both leases
			}
			time.Sleep(10 * time.Second)
			before := make([]int, 3)
			for i, p := range w.procs {
				before[i] = p.path.requests()
			}
			const over = 100
			time.Sleep(over * time.Second)
			for i, p := range w.procs {
				n := float64(p.path.requests()-before[i]) / over
				w.t.Logf("%s: %.2f requests a second", p.name, n)
				if n > 2 || n < 0.15 {
					w.t.Errorf("%s asks %.2f times a second", p.name, n)
				}
			}
			if w.holder("cp") != w.procs[0] || w.longest("cp") > 0 {
				w.fail("nobody held for %v", w.longest("cp"))
			}
		})
	}
}
