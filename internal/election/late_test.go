package election_test

import (
	"fmt"
	"testing"
	"time"
)

// TestLateView has a node come back whose API server lags behind the others': they see what it writes long before it sees theirs, and
// would pass it what it can't know that it was passed.
func TestLateView(t *testing.T) {
	all := claims(30)
	for lag := 100 * time.Millisecond; lag <= 1300*time.Millisecond; lag += 300 * time.Millisecond {
		for how, late := range map[string]func(p *path){
			"answers": func(p *path) { p.setDelay(func() time.Duration { return lag }) },
			"watches": (*path).stall,
		} {
			story(t, fmt.Sprintf("%s come %v late", how, lag), func(w *world) {
				ps := started(w, all, "a", "b", "c")
				a := ps[0]
				time.Sleep(5 * time.Second)
				a.path.cut()
				time.Sleep(8 * time.Second)
				if !w.allHeld(all) || len(a.living()) > 0 {
					w.fail("a went, and not all are held")
				}
				w.forgiveGaps()
				late(a.path)
				a.path.mend()
				time.Sleep(lag)
				a.path.unstall()
				time.Sleep(lag)
				a.path.setDelay(nil)
				took := w.await(5*time.Second, "a holds again", func() bool { return len(a.living()) > 2 && w.allHeld(all) })
				w.t.Logf("%v later", took)
				time.Sleep(4 * time.Second)
				if gap := w.longestOf(all); gap > 0 {
					w.fail("nobody held for %v", gap)
				}
			})
		}
	}
}
