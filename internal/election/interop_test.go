package election_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"daymark/internal/election"
)

// clientGo is an elector for one claim made from client-go's, as kube-vip runs it. What it announces it withdraws when its
// elector says so.
type clientGo struct{ p *proc }

func (clientGo) Set([]election.Claim)                            {}
func (clientGo) Heard(string)                                    {}
func (clientGo) Verify(_ string, settled func(election.Verdict)) { settled(election.Undecided) }
func (clientGo) Yield()                                          {}
func (clientGo) Resume()                                         {}

func (c clientGo) Run(ctx context.Context, apply election.Apply) error {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  v1.ObjectMeta{Namespace: "kube-system", Name: leaseName},
		Client:     c.p.path,
		LockConfig: resourcelock.ResourceLockConfig{Identity: c.p.name},
	}
	ctx = klog.NewContext(ctx, klog.Logger{}) // says nothing
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 5 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: time.Second, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) { _ = apply(ctx, []election.Right{{Claim: "cp"}}) },
				OnStoppedLeading: func() { _ = apply(context.Background(), nil) },
			},
		})
	}
	return nil
}

func clientGoProc(w *world, name string) *proc {
	return w.process(name, func(p *proc) election.Elector { return clientGo{p} })
}

// TestSharedWithClientGo has a cluster half way through a migration: electors of client-go and ours on one lease.
func TestSharedWithClientGo(t *testing.T) {
	story(t, "ours waits while client-go's holds, takes over when it was killed, and is waited for", func(w *world) {
		theirs := clientGoProc(w, "theirs")
		theirs.start()
		time.Sleep(2 * time.Second)
		ours := leaseProc(w, "ours", nil)
		ours.start()
		time.Sleep(20 * time.Second)
		if w.holder("cp") != theirs {
			w.fail("held by %v", w.holders("cp"))
		}
		theirs.path.cut()
		took := w.await(7*time.Second, "ours holds", func() bool { return slices.Contains(w.holders("cp"), "ours") })
		within(w.t, "the take-over", took, 5100*time.Millisecond)
		// A holder of client-go's that is cut off spends another renew deadline on its release before it calls back.
		time.Sleep(2 * time.Second)
		w.forgive()
		theirs.path.mend()
		time.Sleep(20 * time.Second)
		if w.holder("cp") != ours {
			w.fail("held by %v", w.holders("cp"))
		}
		lease, _ := w.api.get("kube-system", leaseName)
		if *lease.Spec.LeaseTransitions != 1 {
			w.t.Errorf("%d transitions, want 1", *lease.Spec.LeaseTransitions)
		}
		ours.path.cut()
		took = w.await(10*time.Second, "theirs holds", func() bool { return slices.Equal(w.holders("cp"), []string{"theirs"}) })
		if took < 2*time.Second {
			w.t.Errorf("theirs took over after %v", took)
		}
	})

	story(t, "each takes at once what the other released", func(w *world) {
		theirs := clientGoProc(w, "theirs")
		theirs.start()
		time.Sleep(2 * time.Second)
		ours := leaseProc(w, "ours", nil)
		ours.start()
		time.Sleep(5 * time.Second)
		// client-go releases once its loop has ended and then calls back; kube-vip withdraws in the callback. The address is
		// on two nodes for that moment, which no elector on the other side can help.
		theirs.shutdown()
		within(w.t, "taking it", w.await(time.Second, "ours holds", func() bool { return len(ours.held()) == 1 }), 50*time.Millisecond)
		w.forgive()
		again := clientGoProc(w, "theirs again")
		again.start()
		time.Sleep(3 * time.Second)
		ours.shutdown()
		within(w.t, "their taking it", w.await(5*time.Second, "theirs holds", func() bool { return len(again.held()) == 1 }), 2300*time.Millisecond)
	})

	story(t, "many take turns and never hold together", func(w *world) {
		procs := []*proc{leaseProc(w, "a", nil), clientGoProc(w, "b"), leaseProc(w, "c", nil), clientGoProc(w, "d")}
		for _, p := range procs {
			p.start()
		}
		for range 20 {
			time.Sleep(4 * time.Second)
			h := w.holder("cp")
			h.path.setRefuse(errors.New("refused"))
			w.await(10*time.Second, "another one holds", func() bool { n := w.holders("cp"); return len(n) == 1 && n[0] != h.name })
			h.path.setRefuse(nil)
		}
	})
}
