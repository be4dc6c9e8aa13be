package election

import (
	"slices"
	"sync"
	"time"
)

// Verdict is what came of asking whether the right to a claim still stands.
type Verdict string

// The verdicts of [Elector] Verify.
const (
	// Confirmed: the API server was asked after the question, and nobody else had taken the claim by then.
	Confirmed Verdict = "confirmed"
	// Lost: the right is over. A set without it was asked for before this was told.
	Lost Verdict = "lost"
	// Undecided: the API server didn't answer, or the right is being handed over. It stands until its end.
	Undecided Verdict = "undecided"
)

// inquiry collects who asks whether rights still stand. It answers by renewals, made out of turn for it: a renewal is a
// compare-and-swap, so the very write that extends the right is the proof of it, and where it fails the fresh read that
// follows tells who has the right instead. One renewal answers every question asked before it was sent, and they are made
// out of turn once in inquiryGap at most, whatever is heard on the LAN: who asks sooner waits for the next one that is due.
type inquiry struct {
	mu      sync.Mutex
	over    bool // nobody answers any more
	open    []question
	hurried time.Time // when a renewal was last sent for a question
}

// question is whether the right to a claim stands.
type question struct {
	claim   string
	asked   time.Time
	settled func(Verdict)
}

// inquiryGap is the shortest time between two renewals that are made for questions.
const inquiryGap = time.Second

// ask takes in a question; wake makes the loop look at it.
func (q *inquiry) ask(claim string, settled func(Verdict), wake chan struct{}) {
	q.mu.Lock()
	over := q.over
	if !over {
		q.open = append(q.open, question{claim, time.Now(), settled})
		signal(wake)
	}
	q.mu.Unlock()
	if over {
		settled(Lost)
	}
}

// turn returns when to renew: at due, or sooner for a question that a renewal sent at sent can't answer.
func (q *inquiry) turn(due, sent time.Time) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.open {
		if o.asked.After(sent) {
			return earlier(due, later(o.asked, q.hurried.Add(inquiryGap)))
		}
	}
	return due
}

// renewing takes in that a renewal was sent at now; before is when the one before it was due.
func (q *inquiry) renewing(now, before time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(before) {
		q.hurried = now
	}
}

// settle tells a verdict of each open question for which judge has one.
func (q *inquiry) settle(judge func(question) (Verdict, bool)) {
	q.mu.Lock()
	var told []func()
	q.open = slices.DeleteFunc(q.open, func(o question) bool {
		v, ok := judge(o)
		if ok {
			told = append(told, func() { o.settled(v) })
		}
		return ok
	})
	q.mu.Unlock()
	for _, tell := range told {
		tell()
	}
}

// undecided tells everybody who asks that there is no answer.
func (q *inquiry) undecided() {
	q.settle(func(question) (Verdict, bool) { return Undecided, true })
}

// end tells everybody who asks that the right is over, now and from now on.
func (q *inquiry) end() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	q.settle(func(question) (Verdict, bool) { return Lost, true })
}

// Verify is [Elector] Verify. All claims of a lease share its fate.
func (l *Lease) Verify(claim string, settled func(Verdict)) { l.inquiry.ask(claim, settled, l.wake) }

// verdict answers a question by what is known of the lease.
func (l *leaseLoop) verdict(o question) (v Verdict, ok bool) {
	switch {
	case l.phase == following:
		return Lost, true
	case l.phase != holding:
		return Undecided, true
	}
	return Confirmed, !l.renewed.Before(o.asked)
}

// Verify is [Elector] Verify. The write that renews the member's Lease says also that the claim is still listed there, and its
// delivery by the watch that whatever others wrote before it was seen. A list of all members' Leases says as much.
func (m *Members) Verify(claim string, settled func(Verdict)) { m.inquiry.ask(claim, settled, m.wake) }

// verdict answers a question by what is known of this member and the others.
func (l *membersLoop) verdict(o question) (v Verdict, ok bool) {
	s := l.stakes[o.claim]
	switch {
	case s == nil, s.tenure == idle, s.tenure == pending, s.tenure == removing:
		return Lost, true
	case s.tenure == quiet, s.tenure == letGo, l.blind:
		return Undecided, true
	}
	return Confirmed, !l.view.horizon.Before(o.asked)
}

// Verify is [Elector] Verify. What is leased stands while both the lease and the member's record do.
func (g *Gated) Verify(claim string, settled func(Verdict)) {
	g.mu.Lock()
	leased := g.leased[claim]
	g.mu.Unlock()
	if !leased {
		g.members.Verify(claim, settled)
		return
	}
	g.lease.Verify(gateClaim, func(gate Verdict) {
		if gate == Lost {
			settled(Lost)
			return
		}
		g.members.Verify(claim, func(own Verdict) {
			if own == Confirmed {
				own = gate
			}
			settled(own)
		})
	})
}

// Verify confirms at once: nobody else is asked.
func (a *Always) Verify(_ string, settled func(Verdict)) { settled(Confirmed) }
