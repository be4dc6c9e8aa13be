package election_test

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"daymark/internal/election"
)

// TestTakenUnanswered has the answer be lost to the write that takes the lease. How the node came by it decides whether it may probe
// for the addresses: it may where nobody had them, and may not where the one before may still answer for them.
func TestTakenUnanswered(t *testing.T) {
	// first loses the answer to the write by which p takes a lease that is free.
	first := func(w *world, p *proc) {
		w.api.setAdmit(func(old, lease *coordinationv1.Lease) error {
			if old == nil || *old.Spec.HolderIdentity == "" {
				p.path.loseWrites(1)
			}
			return nil
		})
	}
	holds := func(w *world, p *proc, most time.Duration, failover bool) {
		took := w.await(most, p.name+" holds", func() bool { return len(p.held()) == 1 })
		w.t.Logf("%s holds after %v", p.name, took)
		if took < 1400*time.Millisecond {
			w.t.Errorf("no answer was lost")
		}
		if r := p.held()[0]; r.Failover != failover {
			w.t.Errorf("it has %+v, want failover to be %v", r, failover)
		}
	}

	story(t, "there was no lease", func(w *world) {
		a := leaseProc(w, "a", nil)
		first(w, a)
		a.start()
		holds(w, a, 2*time.Second, false)
	})

	story(t, "there was no lease, and what makes it arrives when it was given up long ago", func(w *world) {
		a := w.process("a", func(p *proc) election.Elector {
			cfg := p.config()
			cfg.Client = lateCreates{p.path, 2 * time.Second}
			l, err := election.NewLease(election.LeaseConfig{Config: cfg, Name: leaseName})
			if err != nil {
				w.t.Fatal(err)
			}
			l.Set([]election.Claim{{Name: "cp"}})
			return l
		})
		a.start()
		holds(w, a, 5*time.Second, false)
	})

	story(t, "it was released", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		time.Sleep(time.Second)
		a.shutdown()
		first(w, b)
		b.start()
		holds(w, b, 2*time.Second, false)
	})

	story(t, "its holder is dead", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		time.Sleep(time.Second)
		b.start()
		time.Sleep(time.Second)
		a.kill()
		w.await(6*time.Second, "a is over", func() bool { return len(w.holders("cp")) == 0 })
		b.path.loseWrites(1)
		holds(w, b, 4*time.Second, true)
	})

	story(t, "it was passed", func(w *world) {
		a := holderAndNext(w, 2*time.Second)
		b := w.procs[1]
		b.path.loseWrites(1)
		a.stop()
		holds(w, b, 3*time.Second, true)
	})
}

// lateCreates is a client whose leases are made so much later, and long after that was given up.
type lateCreates struct {
	*path
	by time.Duration
}

func (c lateCreates) Leases(namespace string) coordinationv1client.LeaseInterface {
	return lateLeases{c.path.Leases(namespace), c}
}

type lateLeases struct {
	coordinationv1client.LeaseInterface
	late lateCreates
}

func (l lateLeases) Create(ctx context.Context, lease *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	l.late.api.late.Go(func() {
		time.Sleep(l.late.by)
		_, _ = l.LeaseInterface.Create(context.WithoutCancel(ctx), lease, o)
	})
	<-ctx.Done()
	return nil, ctx.Err()
}
