package equinix

import "time"

// How long a gate stays shut.
const (
	refusedPause     = time.Minute // after a refusal: quota, payment, token
	firstAwayPause   = time.Second // after a failure of the API, doubling
	longestAwayPause = 30 * time.Second
)

// gate stands before calls that would all fail for the same reason. After a failure it is shut; when its time is over one call may try, and
// the others go on waiting for how that ends. It has no lock of its own.
type gate struct {
	shut   bool
	until  time.Time // when one may try
	pause  time.Duration
	trying bool
	told   bool // those who wait know that one may try
	why    string
}

// enter reports whether a call may be made, and whether it is the one that tries for all. Who may must tell the end, by open, close or leave.
func (g *gate) enter(now time.Time) (may, tries bool) {
	switch {
	case !g.shut:
		return true, false
	case g.trying || now.Before(g.until):
		return false, false
	}
	g.trying = true
	return true, true
}

// leave ends a call that says nothing about the next.
func (g *gate) leave(tried bool) {
	if tried {
		g.trying = false
	}
}

// open reports whether the gate was shut.
func (g *gate) open() bool {
	was := g.shut
	*g = gate{}
	return was
}

// close shuts the gate. Of calls that were under way together only the first counts, so that they don't prolong the pause.
func (g *gate) close(now time.Time, pause time.Duration, why string, tried bool) {
	if g.shut && !tried {
		return
	}
	*g = gate{shut: true, until: now.Add(pause), pause: pause, why: why}
}

// away shuts the gate for a failure of the API: for a second, then for longer and longer.
func (g *gate) away(now time.Time, why string, tried bool) {
	g.close(now, min(longestAwayPause, max(firstAwayPause, 2*g.pause)), why, tried)
}

// retry lets one call try now.
func (g *gate) retry(now time.Time) {
	if g.shut {
		g.until, g.told = now, false
	}
}

// due reports, once, that one may try.
func (g *gate) due(now time.Time) bool {
	if !g.shut || g.trying || g.told || now.Before(g.until) {
		return false
	}
	g.told = true
	return true
}
