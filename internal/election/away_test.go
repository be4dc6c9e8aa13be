package election_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"daymark/internal/election"
)

// TestAwayIsTold: why an API server is of no use is told once, however often it is asked, and so is its return.
func TestAwayIsTold(t *testing.T) {
	story(t, "away at the start, and later", func(w *world) {
		logged := &lines{}
		a := memberProc(w, "a", func(c *election.MembersConfig) { c.Log = slog.New(logged) })
		a.elector.Set(claims(2))
		a.path.setRefuse(errors.New("connection refused"))
		a.start()
		for want := 1; want <= 2; want++ {
			time.Sleep(30 * time.Second)
			if n := logged.count("leases can't be read"); n != want {
				w.t.Errorf("told %d times that it is away, want %d", n, want)
			}
			a.path.setRefuse(nil)
			w.await(10*time.Second, "all held", func() bool { return w.allHeld(claims(2)) })
			if n := logged.count("leases can be read"); n != want {
				w.t.Errorf("told %d times that it is back, want %d", n, want)
			}
			a.path.setRefuse(errors.New("connection refused"))
			a.path.breakWatches()
		}
	})
}
