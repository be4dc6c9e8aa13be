package election_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"daymark/internal/election"
)

// TestUndelivered bounds what a member remembers of its writes, whatever becomes of them.
func TestUndelivered(t *testing.T) {
	t.Run("while nobody answers the first ones and the last one are remembered", func(t *testing.T) {
		const n = 100_000
		seqs, first := election.Undelivered(n, 0, time.Unix(0, 0))
		if len(seqs) < 2 || len(seqs) > 100 || !slices.Contains(seqs, n) || !first.Equal(time.Unix(1, 0)) {
			t.Errorf("of %d writes %d are remembered, the first sent at %v: %v", n, len(seqs), first, seqs)
		}
		if seqs, first := election.Undelivered(n, n, time.Unix(0, 0)); len(seqs) > 0 || !first.IsZero() {
			t.Errorf("after the last one was delivered: %v, %v", seqs, first)
		}
		if seqs, first := election.Undelivered(4, 2, time.Unix(0, 0)); !slices.Equal(seqs, []uint64{3, 4}) || !first.Equal(time.Unix(3, 0)) {
			t.Errorf("after the second of four: %v, %v", seqs, first)
		}
	})

	for why, refusal := range map[string]error{
		"forbidden":         apierrors.NewForbidden(leaseResource, "x", errors.New("no rule allows it")),
		"too many requests": apierrors.NewTooManyRequests("later", 1),
		"another's version": apierrors.NewConflict(leaseResource, "x", errors.New("the object has been modified")),
	} {
		story(t, "what is refused is no reason to doubt the watch: "+why, func(w *world) {
			all := claims(12)
			ps := started(w, all, "a", "b")
			time.Sleep(10 * time.Second)
			w.api.setAdmit(func(*coordinationv1.Lease, *coordinationv1.Lease) error { return refusal })
			time.Sleep(10 * time.Second)
			lists := w.api.requested("list")
			time.Sleep(10 * time.Minute)
			n := w.api.requested("list") - lists
			if !apierrors.IsConflict(refusal) && n > 0 { // a conflict is one: who changed the Lease should have been seen
				w.t.Errorf("the watch was made anew %d times", n)
			}
			w.api.setAdmit(nil)
			within(w.t, "going on", w.await(5*time.Second, "all taken", func() bool { return w.allTaken(all) }), 1600*time.Millisecond)
			time.Sleep(10 * time.Second)
			if len(ps[0].held()) == 0 || len(ps[1].held()) == 0 {
				w.t.Errorf("held: %v", w.placed())
			}
		})
	}

	story(t, "a write whose answer was lost may be delivered at any time, and counts then", func(w *world) {
		all := claims(12)
		ps := started(w, all, "a", "b")
		time.Sleep(10 * time.Second)
		w.forgiveGaps()
		for range 20 {
			for _, p := range ps {
				p.path.loseWrites(1)
			}
			time.Sleep(3700 * time.Millisecond)
		}
		if gap := w.longestOf(all); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})
}
