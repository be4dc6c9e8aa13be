package election_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"daymark/internal/election"
)

// unevenNames returns the set of three names out of many that scores alone would spread n claims worst over, and how far the
// worst of its members is from even.
func unevenNames(n int) (names []string, worst float64) {
	all := claims(n)
	for i := range 100 {
		set := []string{fmt.Sprintf("node-%d", 3*i), fmt.Sprintf("node-%d", 3*i+1), fmt.Sprintf("node-%d", 3*i+2)}
		count := map[string]int{}
		for _, c := range all {
			best, top := "", 0.0
			for _, node := range set {
				if s := election.Score(node, c.Name, 1000); s > top {
					best, top = node, s
				}
			}
			count[best]++
		}
		if off := uneven(count, n); off > worst {
			names, worst = set, off
		}
	}
	return names, worst
}

// uneven returns how far, as a share of even, the member is that is farthest from it.
func uneven(count map[string]int, n int) (worst float64) {
	even := float64(n) / 3
	for _, c := range count {
		worst = max(worst, float64(c)/even-1, 1-float64(c)/even)
	}
	return worst
}

func TestSpreadIsEven(t *testing.T) {
	const n = 1000
	names, worst := unevenNames(n)
	if worst < 0.1 {
		t.Fatalf("the worst of many names is only %.1f %% off", 100*worst)
	}
	story(t, "a thousand claims over the names that suit least", func(w *world) {
		all := claims(n)
		ps := members(w, names...)
		for _, p := range ps {
			p.elector.Set(nil)
			p.start()
		}
		time.Sleep(4 * time.Second)
		for _, p := range ps {
			p.elector.Set(all)
		}
		w.await(2*time.Second, "all held", func() bool { return w.allHeld(all) })
		first := w.placed()
		share := func() float64 {
			count := map[string]int{}
			for _, node := range w.placed() {
				count[node]++
			}
			return uneven(count, n)
		}
		took := w.await(10*time.Second, "even", func() bool { return share() < 0.08 && w.allHeld(all) })
		time.Sleep(5 * time.Second)
		settled := w.placed()
		off, _, _ := moved(first, settled)
		w.t.Logf("%v: %.1f %% off at first, %.1f %% after %v, %d moved", names, 100*worst, 100*share(), took, off)
		if gap := w.longestOf(all); gap > 0 || share() > 0.08 {
			w.fail("%.1f %% off; nobody held for %v", 100*share(), gap)
		}
		if most := int(worst * n / 3 * 2); off > most {
			w.fail("%d claims moved, want at most %d", off, most)
		}
		time.Sleep(time.Minute)
		if n, _, _ := moved(settled, w.placed()); n > 0 {
			w.fail("%d claims moved although nothing happened", n)
		}
	})
}

// TestReturnKeepsWeight has a node learn nothing for a while, so that it gives away what it has, and come back at every moment between
// two looks at how even the spread is: that it has nothing then is no reason to want more than it had.
func TestReturnKeepsWeight(t *testing.T) {
	story(t, "a node comes back", func(w *world) {
		all := claims(60)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		before := w.placed()
		for range 100 {
			ps[0].path.stall()
			time.Sleep(8 * time.Second)
			ps[0].path.breakWatches()
			time.Sleep(6*time.Second + 20*time.Millisecond) // the next time at another moment of the two seconds
			if n, _, _ := moved(before, w.placed()); n > 0 || !w.allHeld(all) {
				w.fail("%d claims moved", n)
			}
		}
	})
}

// TestMendedKeepsWeight cuts a node off, so that the others share what it had, and mends its path at every moment between two of their
// looks at how even the spread is, when requests take ever longer: that it is not passed its share yet is no reason for anybody to want
// less than before, or more.
func TestMendedKeepsWeight(t *testing.T) {
	story(t, "a node's cable is mended", func(w *world) {
		all := claims(300)
		ps := started(w, all, "a", "b", "c")
		time.Sleep(10 * time.Second)
		var before map[string]string // as it is once the others were even without a, too
		for i := range 24 {
			ps[0].path.cut()
			time.Sleep(10 * time.Second)
			slow := time.Duration(i%12) * 100 * time.Millisecond
			ps[0].path.setDelay(func() time.Duration { return slow })
			ps[0].path.mend()
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				if n := strayed(before, w.placed(), "a"); n > 0 {
					w.fail("a was passed %d claims that it had not had", n)
				}
			}
			ps[0].path.setDelay(nil)
			time.Sleep(3*time.Second + 130*time.Millisecond) // the next time at another moment of the two seconds
			if n, _, _ := moved(before, w.placed()); before != nil && n > 0 || !w.allHeld(all) {
				w.fail("%d claims moved", n)
			}
			before = w.placed()
		}
	})
}

// TestNoShareKeepsWeight has a node take next to nothing for a while, as when its link is down or all endpoints are elsewhere, and then its
// share: that it had none is no reason for anybody to want less than before, or more.
func TestNoShareKeepsWeight(t *testing.T) {
	all := claims(300)
	away := map[string]func(*election.Claim){
		"its link is down":        func(c *election.Claim) { c.Yields = true },
		"its cable is cut":        func(c *election.Claim) { c.Yields = true },
		"endpoints are elsewhere": func(c *election.Claim) { c.Nodes = []string{"b", "c"} },
	}
	for why, change := range away {
		story(t, why, func(w *world) {
			ps := started(w, all, "a", "b", "c")
			time.Sleep(10 * time.Second)
			var before map[string]string // as it is once the others were even without a, too
			for range 6 {
				less, one := slices.Clone(all), true
				for i, c := range all {
					if before[c.Name] != "a" || !one {
						change(&less[i])
					} else {
						one = false // stays, as what needs no link
					}
				}
				for _, p := range ps {
					if p == ps[0] || why == "endpoints are elsewhere" { // which everybody knows
						p.elector.Set(less)
					}
				}
				if why == "its cable is cut" { // so that nobody hears of its handing over
					ps[0].path.cut()
					time.Sleep(10 * time.Second)
					ps[0].path.mend()
				}
				time.Sleep(9 * time.Second)
				for _, p := range ps {
					p.elector.Set(all)
				}
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					if n := strayed(before, w.placed(), "a"); n > 0 {
						w.fail("a was passed %d claims that it had not had", n)
					}
				}
				time.Sleep(3*time.Second + 430*time.Millisecond) // the next time at another moment of the two seconds between two looks
				if n, _, _ := moved(before, w.placed()); before != nil && n > 0 || !w.allHeld(all) {
					w.fail("%d claims moved", n)
				}
				before = w.placed()
			}
			if gap := w.longestOf(all); gap > 0 && why != "its cable is cut" {
				w.fail("nobody held for %v", gap)
			}
		})
	}
}

// strayed returns how many claims a node has that another had before.
func strayed(before, now map[string]string, node string) (n int) {
	for claim, holder := range now {
		if was := before[claim]; holder == node && was != "" && was != node {
			n++
		}
	}
	return n
}
