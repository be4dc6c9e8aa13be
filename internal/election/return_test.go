package election_test

import (
	"fmt"
	"testing"
	"time"

	"daymark/internal/election"
)

// kind is a way to elect.
type kind struct {
	claims  []election.Claim
	process func(w *world, name string) *proc
	loops   int // of each process, each with a lease of its own and a watch
}

func kinds() map[string]kind {
	all := claims(6)
	return map[string]kind{
		"a lease": {[]election.Claim{{Name: "cp"}}, func(w *world, name string) *proc { return leaseProc(w, name, nil) }, 1},
		"members": {all, func(w *world, name string) *proc {
			p := memberProc(w, name)
			p.elector.Set(all)
			return p
		}, 1},
		"members under a lease": {all, func(w *world, name string) *proc {
			p := gatedProc(w, name)
			p.elector.Set(leased(all))
			return p
		}, 2},
	}
}

// start runs three processes of a kind until all is settled.
func (k kind) start(w *world) (ps []*proc) {
	for _, name := range []string{"a", "b", "c"} {
		p := k.process(w, name)
		p.start()
		ps = append(ps, p)
	}
	time.Sleep(10 * time.Second)
	return ps
}

// TestReturn cuts every path to the API server for long and mends it at every moment of a renewal's life: work goes on within a
// retry period and a second, also where the connections that there were stay dead and nobody says so.
func TestReturn(t *testing.T) {
	for name, k := range kinds() {
		for how, mend := range map[string]func(*path){"with": (*path).mend, "without": (*path).mendAnew} {
			story(t, fmt.Sprintf("%s, %s the connections that there were", name, how), func(w *world) {
				ps := k.start(w)
				timing := election.DefaultTiming()
				var worst time.Duration
				for away := 10 * time.Second; away < 13*time.Second; away += 70 * time.Millisecond {
					for _, p := range ps {
						p.path.cut()
					}
					time.Sleep(away)
					for _, p := range ps {
						mend(p.path)
					}
					took := w.await(10*time.Second, "all taken", func() bool { return w.allTaken(k.claims) })
					if worst = max(worst, took); took > timing.RetryPeriod+time.Second {
						w.t.Errorf("away for %v: going on took %v", away, took)
					}
					time.Sleep(5 * time.Second)
				}
				w.t.Logf("going on took %v at most", worst)
			})
		}
	}
}

// TestDeadWatches has every connection die without a word, too shortly for anybody to lose a right: nobody notices but by what a
// watch doesn't tell. That costs nothing, and who dies after it is followed as soon as ever.
func TestDeadWatches(t *testing.T) {
	for name, k := range kinds() {
		for after := time.Duration(0); after <= 6*time.Second; after += 600 * time.Millisecond {
			story(t, fmt.Sprintf("%s, and one dies %v later", name, after), func(w *world) {
				ps := k.start(w)
				w.forgiveGaps()
				for _, p := range ps {
					p.path.cut()
				}
				time.Sleep(1300 * time.Millisecond)
				for _, p := range ps {
					p.path.mendAnew()
				}
				time.Sleep(after)
				if gap := w.longestOf(k.claims); gap > 0 || !w.allHeld(k.claims) {
					w.fail("nobody held for %v", gap)
				}
				dies := w.holder(k.claims[0].Name)
				dies.kill()
				took := w.await(20*time.Second, "all with others", func() bool {
					for _, node := range w.placed() {
						if node == dies.name {
							return false
						}
					}
					return w.allHeld(k.claims)
				})
				w.t.Logf("took over after %v", took)
				within(w.t, "fail-over", took, 6*time.Second)
			})
		}
	}
}
