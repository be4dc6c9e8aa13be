package election_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/election"
)

// censuses records what a member was told of who lives, a line each.
type censuses struct {
	mu    sync.Mutex
	lines []string
}

func (c *censuses) note(now election.Census) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprint(now.Live, now.Gone))
}

// take returns what was told since the last call.
func (c *censuses) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.lines
	c.lines = nil
	return out
}

func TestCensus(t *testing.T) {
	story(t, "a member is told who lives and who is gone for certain, once for each change", func(w *world) {
		told := &censuses{}
		a := memberProc(w, "a", func(c *election.MembersConfig) { c.Changed = told.note })
		expect := func(want ...string) {
			w.t.Helper()
			if d := cmp.Diff(want, told.take()); d != "" {
				w.t.Error(d)
			}
		}
		all := claims(30)
		others := started(w, all, "b", "c")
		a.elector.Set(all)
		a.start()
		time.Sleep(10 * time.Second)
		told.take() // in which order they came does not matter
		others[1].kill()
		time.Sleep(3 * time.Second)
		expect()
		time.Sleep(4 * time.Second)
		expect("[b] []", "[b] [c]") // first it may be dead, then it is
		time.Sleep(20 * time.Second)
		expect()
		others[1].cont()
		time.Sleep(3 * time.Second)
		if lines := told.take(); len(lines) == 0 || lines[len(lines)-1] != "[b c] []" {
			w.t.Errorf("after its return: %q", lines)
		}
		others[0].shutdown()
		time.Sleep(5 * time.Second)
		if lines := told.take(); len(lines) == 0 || lines[len(lines)-1] != "[c] [b]" {
			w.t.Errorf("after one left: %q", lines)
		}
	})

	for _, c := range []struct {
		story, survivor, before, after string
	}{
		{"a process that starts later learns at once who died before it, from who saw it", "b", "[b] [c]", "[b] [c]"},
		{"where nobody lives who saw it, it learns when a lease duration has passed", "", "[b c] []", "[] [b c]"},
	} {
		story(t, c.story, func(w *world) {
			ps := started(w, claims(10), "b", "c")
			time.Sleep(10 * time.Second)
			for _, p := range ps {
				if p.name != c.survivor {
					p.kill()
				}
			}
			time.Sleep(20 * time.Second)
			told := &censuses{}
			a := memberProc(w, "a", func(c *election.MembersConfig) { c.Changed = told.note })
			a.elector.Set(claims(10))
			a.start()
			time.Sleep(4 * time.Second)
			lines := told.take()
			if len(lines) == 0 || lines[len(lines)-1] != c.before {
				w.t.Errorf("in the beginning: %q", lines)
			}
			time.Sleep(4 * time.Second)
			if lines = append(lines, told.take()...); lines[len(lines)-1] != c.after {
				w.t.Errorf("in the end: %q", lines)
			}
		})
	}
}
