package election_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"daymark/internal/election"
)

// TestYieldUnanswered has the API server be away from a holder that is told to yield: until its right ends nobody else may take the
// lease, so it goes on answering, and announces nothing, since it can't know whether a successor was let in.
func TestYieldUnanswered(t *testing.T) {
	for how, mend := range map[string]func(*path){"with": (*path).mend, "without": (*path).mendAnew} {
		story(t, fmt.Sprintf("the API server comes back in time, %s the connections that there were", how), func(w *world) {
			for away := 200 * time.Millisecond; away <= 1400*time.Millisecond; away += 200 * time.Millisecond {
				for after := time.Duration(0); after < time.Second; after += 90 * time.Millisecond {
					a := holderAndNext(w, time.Second+after)
					w.forgiveGaps()
					b := w.procs[len(w.procs)-1]
					a.path.cut()
					time.Sleep(10 * time.Millisecond)
					a.elector.Yield()
					time.Sleep(away)
					mend(a.path)
					time.Sleep(3 * time.Second)
					if gap := w.longest("cp"); gap > 0 || w.holder("cp") != b {
						w.fail("away for %v, %v after a renewal: nobody held for %v; held by %v", away, after, gap, w.holders("cp"))
					}
					b.shutdown()
					a.shutdown()
					w.api.delete("kube-system", leaseName)
				}
			}
		})
	}

	story(t, "it is not back before the renew deadline", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond)
		a.path.cut()
		a.elector.Yield()
		time.Sleep(50 * time.Millisecond)
		for range 17 {
			if h := w.holders("cp"); !slices.Equal(h, []string{"a*"}) {
				w.fail("held by %v, want a to answer", h)
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.await(1300*time.Millisecond, "a has withdrawn", func() bool { return len(w.holders("cp")) == 0 })
		w.await(3*time.Second, "b holds", func() bool { return slices.Equal(w.holders("cp"), []string{"b"}) })
	})

	story(t, "the successor was let in, and is heard before the answer comes", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond)
		a.path.stall()
		a.path.loseWrites(1)
		a.elector.Yield()
		w.await(100*time.Millisecond, "both answer", func() bool { return slices.Equal(w.holders("cp"), []string{"a*", "b"}) })
		a.path.cut()
		time.Sleep(500 * time.Millisecond)
		a.elector.Heard("cp")
		time.Sleep(10 * time.Millisecond)
		if h := w.holders("cp"); !slices.Equal(h, []string{"b"}) {
			w.fail("held by %v", h)
		}
		time.Sleep(5 * time.Second)
		a.path.mend()
		time.Sleep(5 * time.Second)
		if gap := w.longest("cp"); gap > 0 || w.holder("cp").name != "b" {
			w.fail("nobody held for %v; held by %v", gap, w.holders("cp"))
		}
	})

	story(t, "who has to go waits a second", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond)
		a.path.cut()
		a.stop()
		time.Sleep(900 * time.Millisecond)
		if h := w.holders("cp"); !slices.Equal(h, []string{"a*"}) {
			w.fail("held by %v, want a to answer", h)
		}
		w.await(200*time.Millisecond, "a has withdrawn", func() bool { return len(w.holders("cp")) == 0 })
		a.path.mend()
	})

	story(t, "the successor's renewal is seen before the answer comes", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond)
		w.procs[1].path.setDelay(func() time.Duration { return 50 * time.Millisecond }) // b knows of it later
		a.path.loseWrites(1)
		a.elector.Yield()
		time.Sleep(500 * time.Millisecond)
		if h := w.holders("cp"); !slices.Equal(h, []string{"a*", "b"}) {
			w.fail("held by %v, want a to answer until it hears b", h)
		}
		w.await(800*time.Millisecond, "a is gone, heard or not", func() bool { return slices.Equal(w.holders("cp"), []string{"b"}) })
		time.Sleep(5 * time.Second)
		if gap := w.longest("cp"); gap > 0 || w.holder("cp").name != "b" {
			w.fail("nobody held for %v; held by %v", gap, w.holders("cp"))
		}
	})

	story(t, "it is told to resume meanwhile", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond)
		a.path.cut()
		a.elector.Yield()
		time.Sleep(500 * time.Millisecond)
		a.elector.Resume()
		time.Sleep(time.Second)
		a.path.mend()
		time.Sleep(5 * time.Second)
		if gap := w.longest("cp"); gap > 0 || w.holder("cp").name != "b" {
			w.fail("nobody held for %v; held by %v", gap, w.holders("cp"))
		}
	})

	story(t, "it is told to go meanwhile", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond)
		a.path.cut()
		a.elector.Yield()
		time.Sleep(1500 * time.Millisecond)
		stopped := time.Now()
		a.stop()
		w.await(10*time.Millisecond, "a has withdrawn", func() bool { return len(w.holders("cp")) == 0 })
		a.shutdown()
		if took := time.Since(stopped); took > election.DefaultTiming().LeaseDuration {
			w.fail("it took %v to stop", took)
		}
		a.path.mend()
		w.await(time.Second, "b holds", func() bool { return slices.Equal(w.holders("cp"), []string{"b"}) })
	})

	story(t, "a late renewal was under way, and extends its right", func(w *world) {
		a := holderAndNext(w, 2050*time.Millisecond) // it was renewed 50 ms ago, and is tried for 2.95 s more
		a.path.setRefuse(errors.New("refused"))
		time.Sleep(2200 * time.Millisecond)
		a.path.setRefuse(nil)
		a.path.setDelay(func() time.Duration { return 80 * time.Millisecond })
		asked := a.path.requests()
		w.await(500*time.Millisecond, "a tries again", func() bool { return a.path.requests() > asked })
		renewed := time.Now()
		a.elector.Yield()
		time.Sleep(170 * time.Millisecond) // that was answered, and the pass is on its way
		a.path.cut()
		for time.Since(renewed) < 2900*time.Millisecond {
			if h := w.holders("cp"); !slices.Equal(h, []string{"a*"}) {
				w.fail("held by %v, want a to answer", h)
			}
			time.Sleep(50 * time.Millisecond)
		}
		w.await(200*time.Millisecond, "a has withdrawn", func() bool { return len(w.holders("cp")) == 0 })
	})
}
