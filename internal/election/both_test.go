package election_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"daymark/internal/election"
)

// both is a process as the agent runs it: a Lease whose Peers are the process's own Members.
type both struct {
	*election.Lease
	members *election.Members
}

func (b both) Run(ctx context.Context, apply election.Apply) error {
	done := make(chan error)
	go func() {
		done <- b.members.Run(ctx, func(context.Context, []election.Right) error { return nil })
	}()
	if err := b.Lease.Run(ctx, apply); err != nil {
		return err
	}
	return <-done
}

func TestLeaseWithMembers(t *testing.T) {
	story(t, "a lease is passed to a member that stands for it, and back", func(w *world) {
		for _, name := range []string{"a", "b", "c"} {
			w.process(name, func(p *proc) election.Elector {
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
			}).start()
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
