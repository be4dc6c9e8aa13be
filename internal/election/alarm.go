package election

import "time"

// alarm collects when a loop has to look again.
type alarm struct{ now, next time.Time }

// reached reports whether at is not after now, and otherwise sees to it that the loop looks again then.
func (a *alarm) reached(at time.Time) bool {
	if !at.After(a.now) {
		return true
	}
	a.next = earlier(a.next, at)
	return false
}

// earlier returns the earlier moment; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later returns the later moment.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
