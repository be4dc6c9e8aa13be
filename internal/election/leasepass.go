package election

import (
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// confirmation is how long a successor that was named has to renew the lease before the next one is tried.
const confirmation = 500 * time.Millisecond

// handover is the passing of a lease.
type handover struct {
	names     []string  // the claims that are answered for until their successor is heard
	foreign   bool      // a stranger had one of them
	until     time.Time // when the right of this node ends in any case
	began     time.Time
	to        Candidate // who is named, or about to be; no Node: nobody yet
	written   []naming  // every write that named a successor, also those whose answer was lost
	letIn     time.Time // when the last one that succeeded was sent, or is taken to have come about
	confirmed bool      // somebody else wrote since
}

// naming is what a write said that named a successor.
type naming struct {
	Candidate
	renewTime time.Time
}

// holds reports whether lease names whom n does.
func (n naming) holds(lease *coordinationv1.Lease) bool {
	return holder(lease) == n.Node && lease.Annotations[incarnationAnnotation] == n.Incarnation
}

// named reports whether lease is a successor's that this node named, perhaps renewed by it.
func (h handover) named(lease *coordinationv1.Lease) bool {
	return slices.ContainsFunc(h.written, func(n naming) bool { return n.holds(lease) })
}

// wrote reports whether lease is as this node wrote it for a successor: no one else wrote since.
func (h handover) wrote(lease *coordinationv1.Lease) bool {
	return slices.ContainsFunc(h.written, func(n naming) bool {
		return n.holds(lease) && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.Time.Equal(n.renewTime)
	})
}

// candidates returns the live candidates for the lease. Who was named and did not renew, or just lost it, is not taken for one: it is
// dead more likely than not, and a lease duration later that is known.
func (l *leaseLoop) candidates() []Candidate {
	if l.cfg.Peers == nil {
		return nil
	}
	return slices.DeleteFunc(l.cfg.Peers.Candidates(l.Name()), func(c Candidate) bool {
		silent, named := l.silent[c]
		return named && time.Since(silent) < l.cfg.LeaseDuration ||
			l.how == "failover" && c == l.from && time.Since(l.since) < 2*l.cfg.LeaseDuration
	})
}

// part begins to give the lease up: it is passed where there is a successor, and dropped and released where there is none.
func (l *leaseLoop) part(due *alarm, w wants) {
	l.give = handover{foreign: w.foreign, until: l.cfg.fence(l.renewed), began: due.now}
	for _, r := range l.shown {
		if w.known[r.Claim] {
			l.give.names = append(l.give.names, r.Claim)
		}
	}
	l.forgetHeard()
	l.phase = preparing
	l.prepare(due, w)
}

// passingRights returns the rights to what is still answered for, until until.
func (l *leaseLoop) passingRights(w wants, until time.Time) []Right {
	var rights []Right
	for _, name := range l.give.names {
		if w.known[name] && !w.heard[name] {
			r := l.right(name, until)
			r.Passing = true
			rights = append(rights, r)
		}
	}
	return rights
}

// prepare passes the lease as soon as nothing is announced any more. A node that only yields goes on trying, and answering, until
// its right ends: nobody else may take the lease before. One that has to go does not wait for an API server that is away.
func (l *leaseLoop) prepare(due *alarm, w wants) {
	if len(l.give.written) == 0 {
		w.heard = nil // nobody else announces yet
	}
	if l.give.to.Node == "" {
		next := l.candidates()
		if len(next) == 0 {
			l.phase = dropping
			l.drop(due)
			return
		}
		l.give.to = next[0]
	}
	if !l.yieldsOnly(w) && due.reached(l.give.began.Add(passing)) {
		l.phase = dropping // the API server does not answer, or Apply does not return
		l.drop(due)
		return
	}
	quiet := l.show(l.passingRights(w, l.give.until))
	switch {
	case !l.req.busy && l.lease != nil && l.give.wrote(l.lease): // the answer was lost
		l.letIn(due.now)
		l.linger(due, w)
	case quiet && !l.req.busy && !l.needRead && due.reached(l.retryAt):
		l.name(l.give.to)
	}
}

// yieldsOnly reports whether this node hands over what it may just as well keep.
func (l *leaseLoop) yieldsOnly(w wants) bool { return l.stopBy.IsZero() && len(w.names) > 0 }

// name writes c as the holder.
func (l *leaseLoop) name(c Candidate) {
	next := l.write("pass", term{holder: c.Node, incarnation: incarnation(c.Incarnation), annotations: l.cfg.Annotations, foreign: l.give.foreign})
	l.give.to = c
	l.give.written = append(l.give.written, naming{c, next.Spec.RenewTime.Truncate(time.Microsecond)})
}

// letIn takes in that the successor that was named may hold since at. It may be told more than once of one: by the answer, and
// before that by the successor's own renewal.
func (l *leaseLoop) letIn(at time.Time) {
	if !l.give.confirmed {
		l.cfg.Log.Info("passed", "to", l.give.to.Node)
	}
	if l.phase == preparing {
		l.cfg.Metrics.lose(l.Name(), "passed", len(l.give.names))
	}
	l.phase, l.give.letIn = passed, later(l.give.letIn, at)
	l.judge()
}

// linger answers until the successor is heard, and sees to it that there is one. Where it does not renew, who only yields takes the lease
// back, and passes it to the next one from there: nobody held it meanwhile, or the resourceVersion would be another.
func (l *leaseLoop) linger(due *alarm, w wants) {
	var rights []Right
	if !due.reached(earlier(l.give.until, l.give.letIn.Add(passing))) {
		rights = l.passingRights(w, earlier(l.give.until, l.give.letIn.Add(passingFence)))
	}
	gone := l.show(rights) && len(rights) == 0
	if l.give.confirmed {
		if gone {
			l.phase, due.next = following, due.now
		}
		return
	}
	if l.req.busy || l.needRead || !due.reached(later(l.retryAt, l.give.letIn.Add(confirmation))) {
		return
	}
	maps.DeleteFunc(l.silent, func(_ Candidate, since time.Time) bool { return time.Since(since) >= l.cfg.LeaseDuration })
	if _, known := l.silent[l.give.to]; !known {
		l.cfg.Log.Warn("successor does not renew", "node", l.give.to.Node)
		l.silent[l.give.to] = due.now
	}
	if l.yieldsOnly(w) {
		l.how = "returned"
		l.write("take", l.term())
		return
	}
	if next := l.candidates(); len(next) > 0 {
		l.name(next[0])
		return
	}
	l.phase = dropping
	l.drop(due)
}

// drop releases the lease once nothing is in the kernel any more. Without an answer it just runs out.
func (l *leaseLoop) drop(due *alarm) {
	applied := l.show(nil)
	switch {
	case l.give.confirmed, due.reached(l.give.until):
	case !applied, l.req.busy, l.needRead, !due.reached(l.retryAt):
		return
	case l.lease == nil, holder(l.lease) == "":
	default:
		l.write("release", term{annotations: l.cfg.Annotations})
		return
	}
	l.phase, due.next = following, due.now
}
