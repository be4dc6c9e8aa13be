package election

import (
	"context"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// phase is where a node stands with a lease.
type phase string

const (
	following phase = "following" // another holds it, or nobody does
	holding   phase = "holding"
	preparing phase = "preparing" // holding, and waiting until nothing is announced any more, to pass it
	passed    phase = "passed"    // a successor was named, this node still answers
	dropping  phase = "dropping"  // waiting until nothing is in the kernel any more, to release it
)

// leaseLoop is one run of a Lease. All of it belongs to the goroutine of run.
type leaseLoop struct {
	*Lease
	ap      *applier
	req     *requests
	watch   *watcher
	started time.Time
	alone   bool // no other process on this host runs with this identity
	settled bool // Apply may be called
	stopBy  time.Time

	// What is known of the object.
	known    bool
	lease    *coordinationv1.Lease // nil when there is none
	last     *coordinationv1.Lease // the newest there was
	rv       uint64
	learned  time.Time     // when the newest was learned
	changed  time.Time     // when the newest change by whomever was seen
	jitter   time.Duration // of this node after that change
	adopted  incarnation   // the process of this identity and host that held when this one started
	needRead bool
	retryAt  time.Time // no request before
	backoff  backoff
	echoed   time.Time // when the watch last told anything

	// What is held.
	phase    phase
	renewed  time.Time   // when the last successful renewal was sent
	failover bool        // another had it
	foreign  bool        // and knew it for a stranger's
	how      string      // of the attempt to take it
	from     Candidate   // who held it before
	tried    []time.Time // the renew times that the last attempts wrote, as the API server has them, until one is known to have succeeded
	since    time.Time
	shown    []Right
	give     handover
	silent   map[Candidate]time.Time // who was named and did not renew, and since when that is known
	renewing renewing
}

func newLeaseLoop(work context.Context, l *Lease, apply Apply) *leaseLoop {
	loop := &leaseLoop{
		Lease: l,
		ap:    newApplier(apply, l.cfg.Log),
		watch: &watcher{
			leases:   l.leases.client,
			selector: metav1.ListOptions{FieldSelector: "metadata.name=" + l.cfg.Name},
			timeout:  l.cfg.request(),
			longest:  l.cfg.RetryPeriod,
			log:      l.cfg.Log,
			events:   make(chan event, 16),
			stale:    make(chan struct{}, 1),
		},
		started: time.Now(),
		echoed:  time.Now(),
		backoff: backoff{timing: l.cfg.Timing},
		phase:   following,
		silent:  map[Candidate]time.Time{},
	}
	loop.req = newRequests(work, l.cfg.Timing, loop.end)
	return loop
}

func (l *leaseLoop) run(ctx context.Context) {
	done := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer l.renewing.set(l.cfg.Pace, false)
	defer l.inquiry.end()
	for {
		l.cfg.thaw()
		next, over := l.step(time.Now(), ctx.Err() != nil)
		if over {
			return
		}
		l.renewing.set(l.cfg.Pace, l.phase == holding)
		timer.Reset(time.Until(next))
		select {
		case a := <-l.req.answers:
			l.cfg.thaw()
			l.req.busy = false
			l.answered(a, time.Now())
		case e := <-l.watch.events:
			l.cfg.thaw()
			l.saw(e, time.Now())
		case <-l.ap.applied:
		case <-l.wake:
		case <-timer.C:
		case <-done:
			done = nil
		}
	}
}

// step does what is due at now and returns when it wants to be called again at the latest, or that all is over.
func (l *leaseLoop) step(now time.Time, stopping bool) (next time.Time, over bool) {
	w := l.wants()
	if stopping && l.stopBy.IsZero() {
		l.stopBy = now.Add(l.cfg.LeaseDuration)
	}
	if l.cfg.Peers != nil {
		l.cfg.Peers.Stand(l.Name(), len(w.names) > 0 && !w.yielded && !stopping)
	}
	if l.phase == holding || l.phase == preparing {
		if end := l.withdrawAt(); !now.Before(end) {
			l.lose("deadline")
		} else {
			next = end
		}
	}
	due := alarm{now: now, next: earlier(next, now.Add(l.cfg.LeaseDuration))}
	if l.needRead && !l.req.busy && due.reached(l.retryAt) {
		l.req.send("read", 0, l.leases.read())
	}
	switch l.phase {
	case following:
		over = l.follow(&due, w, stopping)
	case holding:
		l.hold(&due, w, stopping)
	case preparing:
		l.prepare(&due, w)
	case passed:
		l.linger(&due, w)
	case dropping:
		l.drop(&due)
	}
	if stopping {
		over = over || due.reached(l.stopBy)
	}
	l.inquiry.settle(l.verdict)
	return due.next, over
}

// end returns when what is held is lost without a renewal; zero where nothing is.
func (l *leaseLoop) end() time.Time {
	if l.phase != holding && l.phase != preparing {
		return time.Time{}
	}
	return l.withdrawAt()
}

// withdrawAt returns when a holder that was not able to renew withdraws.
func (l *leaseLoop) withdrawAt() time.Time {
	return earlier(l.renewed.Add(l.cfg.RenewDeadline), l.cfg.fence(l.renewed))
}

// show asks for rights and reports whether they are true already.
func (l *leaseLoop) show(rights []Right) bool {
	l.cfg.Metrics.rights(l.Name(), rights)
	l.shown = rights
	return l.ap.has(l.ap.set(rights))
}

// follow waits for the lease to be free.
func (l *leaseLoop) follow(due *alarm, w wants, stopping bool) (over bool) {
	predecessor := l.known && l.lease != nil && holder(l.lease) == l.cfg.Identity && l.adoptable()
	l.settled = l.settled || stopping || l.known && !predecessor || due.reached(l.started.Add(l.cfg.LeaseDuration))
	applied := l.settled && l.show(nil)
	if stopping {
		return applied && !l.req.busy
	}
	if len(w.names) == 0 || !l.known || l.needRead || l.req.busy {
		return false
	}
	if until := duration(l.lease, l.cfg.LeaseDuration); holder(l.lease) != "" && due.now.Before(l.changed.Add(until)) {
		l.watchWatch(due, max(l.cfg.RetryPeriod*3/2, until*2/5)) // whoever holds it renews it
	}
	at, how := l.takeable()
	if w.yielded {
		at = later(at, l.changed).Add(l.cfg.RetryPeriod)
	}
	if !due.reached(later(at, l.retryAt)) {
		return false
	}
	if !l.tookIt() {
		l.how, l.from, l.foreign = how, Candidate{}, isForeign(l.lease)
		if l.lease != nil {
			l.from = Candidate{holder(l.lease), l.lease.Annotations[incarnationAnnotation]}
		}
	}
	next := l.write("take", l.term())
	l.tried = append(l.tried[max(0, len(l.tried)+1-mostTried):], next.Spec.RenewTime.Truncate(time.Microsecond))
	return false
}

// mostTried bounds the attempts that are remembered: one that is still on its way after so many others does not arrive.
const mostTried = 8

// tookIt reports whether the lease is as an attempt of this process wrote it, whose answer was lost: nobody passed it.
func (l *leaseLoop) tookIt() bool {
	return l.lease != nil && l.mine(l.lease) && l.lease.Spec.RenewTime != nil && slices.ContainsFunc(l.tried, l.lease.Spec.RenewTime.Time.Equal)
}

// watchWatch has the watch made anew when it has told nothing for so long: its connection may be dead, and nobody says so.
func (l *leaseLoop) watchWatch(due *alarm, quiet time.Duration) {
	if due.reached(l.echoed.Add(quiet)) {
		l.echoed = due.now
		signal(l.watch.stale)
	}
}

// takeable returns from when on this node may try to take the lease, and how it would come by it.
func (l *leaseLoop) takeable() (at time.Time, how string) {
	seen := l.lease
	if seen == nil {
		seen = l.last // deleted: its holder may live, and makes it again
	}
	switch {
	case seen == nil:
		return time.Time{}, "free"
	case holder(seen) == "":
		return l.changed.Add(l.jitter), "free"
	case l.mine(seen):
		return time.Time{}, "passed"
	case holder(seen) == l.cfg.Identity && l.adoptable():
		return time.Time{}, "adopted"
	}
	return l.changed.Add(duration(seen, l.cfg.LeaseDuration) + l.jitter), "failover"
}

// mine reports whether lease names this process.
func (l *leaseLoop) mine(lease *coordinationv1.Lease) bool {
	return holder(lease) == l.cfg.Identity && incarnation(lease.Annotations[incarnationAnnotation]) == l.self
}

// adoptable reports whether the lease still names the predecessor of this process.
func (l *leaseLoop) adoptable() bool {
	return l.adopted != "" && incarnation(l.lease.Annotations[incarnationAnnotation]) == l.adopted
}

// term is this node's as holder.
func (l *leaseLoop) term() term {
	return term{holder: l.cfg.Identity, incarnation: l.self, annotations: l.cfg.Annotations, foreign: l.wants().foreign}
}

// write sends the write of t over what is known of the lease, and returns it.
func (l *leaseLoop) write(kind string, t term) *coordinationv1.Lease {
	if l.lease == nil {
		next := l.leases.next(l.last, t)
		l.req.send(kind, 0, l.leases.create(next))
		return next
	}
	next := l.leases.next(l.lease, t)
	l.req.send(kind, 0, l.leases.update(next))
	return next
}

// hold keeps the lease renewed.
func (l *leaseLoop) hold(due *alarm, w wants, stopping bool) {
	if stopping || len(w.names) == 0 || w.yielded && len(l.candidates()) > 0 && due.reached(l.rested()) {
		l.part(due, w)
		return
	}
	rights := make([]Right, len(w.names))
	for i, name := range w.names {
		rights[i] = l.right(name, l.cfg.fence(l.renewed))
	}
	l.show(rights)
	l.watchWatch(due, l.cfg.RenewDeadline) // it tells of this node's own renewals at least
	at, inTurn := l.retryAt, l.renewed.Add(l.req.period(l.cfg.Pace))
	if l.lease != nil {
		at = later(at, l.inquiry.turn(inTurn, l.renewed))
	}
	if !l.req.busy && !l.needRead && due.reached(at) {
		l.inquiry.renewing(due.now, inTurn)
		l.write("renew", l.term())
	}
}

// rested returns from when on a lease that was taken back may be passed to the next one: who answers for its claims is to know by then
// that it has it again.
func (l *leaseLoop) rested() time.Time {
	if l.how != "returned" {
		return time.Time{}
	}
	return l.since.Add(l.cfg.RetryPeriod)
}

// right returns the one to a claim until until.
func (l *leaseLoop) right(claim string, until time.Time) Right {
	return Right{Claim: claim, Until: until, Failover: l.failover && !l.foreign, Contended: l.failover && l.foreign}
}

// lose ends what is held without a word to others: it is theirs already, or will be.
func (l *leaseLoop) lose(why string) {
	l.cfg.Log.Info("lost", "why", why, "holder", holder(l.lease))
	l.cfg.Metrics.lose(l.Name(), why, len(l.shown))
	l.phase, l.how = following, "free"
	l.show(nil)
}
