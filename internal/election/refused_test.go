package election_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"daymark/internal/election"
)

// refusals are what an API server says that doesn't do what it is asked for.
func refusals() map[string]error {
	return map[string]error{
		"forbidden":         apierrors.NewForbidden(leaseResource, "x", errors.New("no rule allows it")),
		"too many requests": apierrors.NewTooManyRequests("later", 1),
		"internal error":    apierrors.NewInternalError(errors.New("etcd")),
	}
}

// TestRefused has an API server refuse everything for long: it is asked ever less often, and work goes on soon when it
// answers again: a refusal may ask for a retry period's wait, and who suits a claim less leaves others a quarter of one, or two, before it.
func TestRefused(t *testing.T) {
	timing := election.DefaultTiming()
	for name, k := range kinds() {
		for why, refusal := range refusals() {
			story(t, name+", "+why, func(w *world) {
				ps := k.start(w)
				for away := 30 * time.Second; away < 31*time.Second; away += 130 * time.Millisecond {
					asked := 0
					for _, p := range ps {
						asked -= p.path.requests()
						p.path.setRefuse(refusal)
					}
					time.Sleep(away)
					for _, p := range ps {
						asked += p.path.requests()
						p.path.setRefuse(nil)
					}
					// A write in three quarters of a retry period on average, and a few more before the deadline; a list in each, too.
					if most := len(ps) * k.loops * int(away/time.Second) * 3; asked > most {
						w.t.Errorf("asked %d times in %v, want at most %d", asked, away, most)
					}
					took := w.await(10*time.Second, "all taken", func() bool { return w.allTaken(k.claims) })
					within(w.t, "going on", took, timing.RetryPeriod+time.Second)
					time.Sleep(5 * time.Second)
				}
			})
		}
	}
}

// TestRefusedHolder has an API server refuse the holder for every length of time that ends before its deadline: it renews in time.
func TestRefusedHolder(t *testing.T) {
	timing := election.DefaultTiming()
	for name, k := range kinds() {
		for why, refusal := range refusals() {
			story(t, name+", "+why, func(w *world) {
				ps := k.start(w)
				before := w.placed()
				w.forgiveGaps()
				// A renewal may just have been due when it began.
				for d := 100 * time.Millisecond; d < timing.RenewDeadline-timing.RetryPeriod-200*time.Millisecond; d += 70 * time.Millisecond {
					for _, p := range ps {
						p.path.setRefuse(refusal)
					}
					time.Sleep(d)
					for _, p := range ps {
						p.path.setRefuse(nil)
					}
					time.Sleep(4*time.Second + d/3)
					if gap := w.longestOf(k.claims); gap > 0 {
						w.fail("refused for %v: nobody held for %v", d, gap)
					}
				}
				if after := w.placed(); !maps.Equal(before, after) {
					w.fail("held by %v, and before by %v", after, before)
				}
			})
		}
	}
}

// TestContradicted has somebody else change every Lease just before it is written: what is read again at once is read in vain, and
// the API server is not asked as fast as it can answer.
func TestContradicted(t *testing.T) {
	for name, k := range kinds() {
		story(t, name, func(w *world) {
			ps := k.start(w)
			w.forgiveGaps()
			for range 10 { // one at a time costs nothing
				for _, p := range ps {
					p.path.setRival(true)
				}
				before := w.api.conflicts()
				w.await(3*time.Second, "a conflict", func() bool { return w.api.conflicts() > before })
				for _, p := range ps {
					p.path.setRival(false)
				}
				time.Sleep(1700 * time.Millisecond)
			}
			if gap := w.longestOf(k.claims); gap > 0 {
				w.fail("nobody held for %v", gap)
			}
			asked := 0
			for _, p := range ps {
				asked -= p.path.requests()
				p.path.setRival(true)
			}
			const long = 20 * time.Second
			time.Sleep(long)
			for _, p := range ps {
				asked += p.path.requests()
				p.path.setRival(false)
			}
			// A read and a write, and a watch made anew, which lists.
			if most := len(ps) * k.loops * 6 * int(long/time.Second); asked > most {
				w.t.Errorf("asked %d times in %v, want at most %d", asked, long, most)
			}
			w.await(10*time.Second, "all held", func() bool { return w.allHeld(k.claims) })
		})
	}
}
