package netns

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outage is what a client went through between two moments.
type Outage struct {
	// Answered counts the answers that came between the moments. Lost are the questions asked between them that had no answer in
	// time, or none yet when one asked a second and more after them had.
	Answered, Lost int
	// Longest is the longest time from an answer to the next, or from the first
	// moment to the first answer, or from the last answer to the last moment, less
	// what of it is Unasked. Without an outage it is about the probe's period.
	Longest time.Duration
	// From is when the longest outage began, and Excused what of it is Unasked.
	From    time.Time
	Excused time.Duration
	// Unasked is how long altogether the client was due to ask and did not: it was
	// not given the CPU, which is no outage.
	Unasked time.Duration
	By      []string // who answered, sorted
	Missed  []Missed // the lost questions, as they were asked
}

// Missed is one question that was lost.
type Missed struct {
	Asked time.Time
	Why   string // what the client's kernel said, or "" where others had their answers long ago
}

func (o Outage) String() string {
	text := fmt.Sprintf("unanswered for %s, %d answered, %d lost, by %s", o.Longest.Round(time.Millisecond), o.Answered, o.Lost, strings.Join(o.By, " "))
	for i, m := range o.Missed {
		if i == 3 {
			text += " ..."
			break
		}
		text += fmt.Sprintf("; lost: asked %s: %s", m.Asked.Format("15:04:05.000"), m.Why)
	}
	if o.Unasked > 0 {
		text += fmt.Sprintf(" (and nobody asked for %s, of which %s are in the midst of that)", o.Unasked.Round(time.Millisecond), o.Excused.Round(time.Millisecond))
	}
	return text
}

// Record is all that a client asked, each in any order.
type Record struct {
	Every   time.Duration // its period; zero: it asked as often as it meant to
	Answers []Reached
	Lost    []Missed    // questions that were given up
	Open    []time.Time // when those were asked that may still be answered
}

// overtaken is after which time a question is lost when one that was asked so much later has been answered. On a LAN no answer
// overtakes another by that much.
const overtaken = time.Second

// hopeless is the moment up to which a question that has no answer is lost: one that was asked so much later has one.
func hopeless(answers []Reached) (until time.Time) {
	for _, a := range answers {
		if by := a.Asked.Add(-overtaken); by.After(until) {
			until = by
		}
	}
	return until
}

// Summarize sums up what was asked from the first moment up to the second.
func (r Record) Summarize(from, to time.Time) Outage {
	out := Outage{}
	inside := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	var asked, answered []time.Time
	for _, a := range r.Answers {
		asked, answered = append(asked, a.Asked), append(answered, a.At)
		if inside(a.At) {
			out.Answered++
			out.By = append(out.By, a.By)
		}
	}
	for _, m := range r.Lost {
		asked = append(asked, m.Asked)
		if inside(m.Asked) {
			out.Missed = append(out.Missed, m)
		}
	}
	until := hopeless(r.Answers)
	for _, at := range r.Open {
		asked = append(asked, at)
		if inside(at) && !at.After(until) {
			out.Missed = append(out.Missed, Missed{Asked: at})
		}
	}
	slices.SortFunc(out.Missed, func(a, b Missed) int { return a.Asked.Compare(b.Asked) })
	out.Lost = len(out.Missed)
	unasked := pauses(asked, r.Every, from, to)
	out.Unasked = span{from, to}.covered(unasked)
	longest := longestGap(answered, from, to, unasked)
	out.Longest, out.From, out.Excused = longest.long, longest.from, longest.excused
	slices.Sort(out.By)
	out.By = slices.Compact(out.By)
	return out
}

// Report sums up what was asked from the first moment up to the second. A question that is still open is not lost: see Settle.
func (r *Prober) Report(from, to time.Time) Outage {
	r.mu.Lock()
	record := Record{Every: r.probe.Every, Answers: slices.Clone(r.answers), Lost: slices.Clone(r.failed), Open: slices.Collect(maps.Values(r.open))}
	r.mu.Unlock()
	return record.Summarize(from, to)
}

// Settle waits until it is known of each question asked before that moment what came of it: it was answered, given up, or is lost
// as Outage has it.
func (r *Prober) Settle(ctx context.Context, to time.Time) error {
	for {
		r.mu.Lock()
		changed, pending, until := r.changed, false, hopeless(r.answers)
		for _, asked := range r.open {
			pending = pending || asked.Before(to) && asked.After(until)
		}
		r.mu.Unlock()
		if !pending {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the last answers from %s: %w", r.probe.To, ctx.Err())
		}
	}
}
