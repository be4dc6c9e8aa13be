package netns

import (
	"slices"
	"time"
)

// starved is after how many periods without a question the asking itself has paused: a machine that has other things to do, or
// whose hypervisor has, wakes nobody in time.
const starved = 3

// pauses are the times between two moments in which nobody asked although a question was due, given when all were asked, in any
// order, and their period. Without a period there are none.
func pauses(asked []time.Time, every time.Duration, from, to time.Time) []span {
	if every == 0 {
		return nil
	}
	asked = slices.SortedFunc(slices.Values(asked), time.Time.Compare)
	var out []span
	last := from.Add(-every) // a question is due at the first moment, unless there was one
	look := func(next time.Time) {
		if next.Sub(last) > starved*every {
			out = append(out, span{last.Add(every), next})
		}
		last = next
	}
	for _, at := range asked {
		switch {
		case at.Before(from):
			last = at
		case at.Before(to):
			look(at)
		}
	}
	look(to)
	for i := range out {
		out[i] = out[i].within(from, to)
	}
	return out
}

// gap is a time without a moment of some kind.
type gap struct {
	from    time.Time
	long    time.Duration // without the pauses in it
	excused time.Duration // these
}

// longestGap is the longest time without one of the moments, between two others that are its ends. The pauses don't count.
func longestGap(moments []time.Time, from, to time.Time, pauses []span) gap {
	longest := gap{from: from}
	last := from
	look := func(at time.Time) {
		excused := span{last, at}.covered(pauses)
		if long := at.Sub(last) - excused; long > longest.long {
			longest = gap{last, long, excused}
		}
		last = at
	}
	for _, at := range slices.SortedFunc(slices.Values(moments), time.Time.Compare) {
		if !at.Before(from) && at.Before(to) {
			look(at)
		}
	}
	look(to)
	return longest
}

// span is a time from one moment to another.
type span struct{ from, to time.Time }

func (s span) overlap(t span) time.Duration {
	t = t.within(s.from, s.to)
	return max(0, t.to.Sub(t.from))
}

// meets says whether two spans have a moment in common.
func (s span) meets(t span) bool { return !s.to.Before(t.from) && !t.to.Before(s.from) }

// within is the part of a span between two moments.
func (s span) within(from, to time.Time) span {
	if s.from.Before(from) {
		s.from = from
	}
	if s.to.After(to) {
		s.to = to
	}
	return s
}

// covered is how much of a span lies in others, which don't overlap.
func (s span) covered(others []span) (sum time.Duration) {
	for _, o := range others {
		sum += s.overlap(o)
	}
	return sum
}
