package election

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// writeGap is the shortest time between two writes of a member, other than after an error: a burst of changes is collected.
const writeGap = 25 * time.Millisecond

// membersLoop is one run of Members. All of it belongs to the goroutine of run.
type membersLoop struct {
	*Members
	id       uint64
	ap       *applier
	req      *requests
	watch    *watcher
	started  time.Time
	alone    bool // no other process on this host runs with this identity
	settled  bool // Apply may be called
	stopping bool
	stopBy   time.Time
	asked    asked
	view     view
	doubted  bool // the watch did not tell of this node's own writes in time, and has told of none since
	blind    bool // doubted, as the claims know it
	looked   time.Time
	decideAt time.Time

	// The own Lease and what is written to it.
	joined   bool // the first list has come
	own      *coordinationv1.Lease
	rv       uint64
	learned  time.Time
	changed  time.Time
	adopted  incarnation // the process of this identity and host that wrote it before this one
	needRead bool
	backoff  backoff
	retryAt  time.Time // no request before
	nextSeq  uint64
	sent     undelivered
	lastSent time.Time
	ownStamp stamp
	owned    ownership
	next     record // to be written, if composed
	composed bool
	tried    time.Time // when nothing in it is untried any more for want of time; zero where nothing is
	news     bool      // next says something else than written
	room     room      // in the record
	written  record    // as it was sent last
	unsure   bool      // it is not known that it was written, or it must be written again
	known    uint64    // the newest write that is known to have succeeded
	left     bool      // the release was answered
	renewing renewing

	// Its share.
	weight   uint32
	weighed  time.Time // when balance looked last
	lastLoad load

	// What is held.
	delivered uint64    // the own write that the watch delivered last
	renewed   time.Time // when the last own write that is known to have succeeded was sent
	fresh     bool      // the rights last longer now, or are true
	proof     time.Time // a write must be sent after this
	stakes    map[string]*stake
	order     []*stake // the same, sorted by name
	// wantedParts are the claims that the agent wants, by each of their parts.
	wantedParts map[uint64]*stake
	inherited   set // what the predecessor listed; kept listed until it is known what of it is wanted
}

func newMembersLoop(work context.Context, m *Members, apply Apply) *membersLoop {
	now := time.Now()
	l := &membersLoop{
		Members: m,
		id:      hash(m.cfg.Identity),
		ap:      newApplier(apply, m.cfg.Log),
		watch: &watcher{
			leases:   m.client,
			selector: metav1.ListOptions{LabelSelector: memberLabel + "=" + m.cfg.Group},
			timeout:  m.cfg.request(),
			longest:  m.cfg.RetryPeriod,
			log:      m.cfg.Log,
			events:   make(chan event, 64),
			stale:    make(chan struct{}, 1),
		},
		started: now,
		view: view{
			timing: m.cfg.Timing, group: m.cfg.Group, self: m.name, log: m.cfg.Log, trouble: m.trouble, members: map[string]*member{},
			stirred: true, standings: map[string]standing{}, touched: set{},
		},
		backoff: backoff{timing: m.cfg.Timing},
		room:    room{most: m.cfg.mostParts()},
		nextSeq: 1,
		weight:  evenWeight,
		sent:    undelivered{},
		stakes:  map[string]*stake{},
	}
	l.req = newRequests(work, m.cfg.Timing, l.end)
	return l
}

func (l *membersLoop) run(ctx context.Context) {
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
		l.renewing.set(l.cfg.Pace, len(l.written.Claims) > 0)
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
			l.fresh = true
		case <-l.wake:
			l.view.stirred = true
		case <-timer.C:
		case <-done:
			done = nil
		}
	}
}

// step does what is due at now and returns when it wants to be called again at the latest, or that all is over.
func (l *membersLoop) step(now time.Time, stopping bool) (next time.Time, over bool) {
	due := alarm{now: now, next: now.Add(l.cfg.LeaseDuration)}
	if stopping && !l.stopping {
		l.stopping, l.stopBy, l.view.stirred = true, now.Add(l.cfg.RenewDeadline), true
	}
	l.ask(&due)
	l.watchWatch(&due)
	if l.holds() && due.reached(l.withdrawAt()) {
		l.lapse("deadline")
	}
	l.balance(&due)
	if l.fresh {
		l.fresh = false
		l.show()
	}
	if l.view.stirred || !now.Before(l.decideAt) {
		l.review(now)
	}
	due.reached(l.decideAt)
	l.inquiry.settle(l.verdict)
	if l.needRead && !l.req.busy && due.reached(l.retryAt) {
		l.req.send("read", 0, func(ctx context.Context) (*coordinationv1.Lease, error) {
			return l.client.Get(ctx, l.name, metav1.GetOptions{})
		})
	}
	if l.stopping && l.clear() {
		if l.left || !l.isMine() || due.reached(l.stopBy) {
			return due.next, !l.req.busy || due.reached(l.stopBy)
		}
		l.release(&due)
		return due.next, false
	}
	if l.stopping && due.reached(l.stopBy.Add(l.cfg.LeaseDuration-l.cfg.RenewDeadline)) {
		return due.next, true
	}
	l.write(&due)
	return due.next, false
}

// ask takes in what the agent wants.
func (l *membersLoop) ask(due *alarm) {
	before := l.asked.set
	l.asked = l.take()
	if l.asked.changed && l.joined {
		l.want(l.asked.claims)
	} else if l.asked.changed {
		l.mu.Lock()
		l.Members.changed = true // again when it is known what a predecessor listed
		l.mu.Unlock()
	}
	for name := range l.asked.heard {
		if s := l.stakes[name]; s != nil && s.tenure == letGo {
			s.heard = true
		}
	}
	if before != l.asked.set {
		l.view.stirred = true
	}
	if len(l.inherited) > 0 && !l.asked.set && due.reached(l.started.Add(l.cfg.LeaseDuration)) {
		l.view.stirred = true // settles it
	}
}

// watchWatch has the watch made anew when it does not deliver this node's own writes. Until it delivers one again this node lists
// nothing: others would pass it what it can't see to be passed. A list is no proof that the watch after it keeps up.
func (l *membersLoop) watchWatch(due *alarm) {
	if !l.joined {
		return
	}
	first := l.sent.first()
	l.doubted = l.doubted || !first.IsZero() && due.reached(later(first, l.view.horizon).Add(l.cfg.RenewDeadline))
	if l.doubted != l.blind {
		l.blind, l.view.stirred = l.doubted, true
	}
	if l.doubted && due.reached(later(l.looked, l.view.horizon).Add(l.cfg.RenewDeadline)) { // it may just have begun anew by itself
		l.looked = due.now
		signal(l.watch.stale)
	}
}

// review decides about every claim, shows what came of it, and goes on while that leads to more.
func (l *membersLoop) review(now time.Time) {
	l.composed = false
	due := alarm{now: now, next: now.Add(l.cfg.LeaseDuration)}
	l.proof = time.Time{}
	for range 4 {
		l.view.stirred = false
		l.view.purge()
		l.decide(&due)
		l.show()
		if !l.view.stirred {
			break
		}
	}
	for _, o := range l.view.members {
		if !l.view.void(o) {
			due.reached(o.changed.Add(o.duration))
		}
	}
	l.forget()
	l.decideAt = due.next
	live := l.view.live(now)
	l.Members.show(live, l.view.gone(), l.view.stations())
	l.cfg.Metrics.live(len(live) + 1)
	l.cfg.Metrics.unread(l.cfg.Group, l.view.unreadable(now))
}

// show asks for the rights as they are now, and takes in when they are true already.
func (l *membersLoop) show() {
	l.settled = l.settled || l.stopping || l.joined && l.asked.set && !l.inheriting() ||
		time.Since(l.started) >= l.cfg.LeaseDuration
	if !l.settled {
		return
	}
	rights := l.rights()
	l.cfg.Metrics.rights(l.cfg.Group, rights)
	if l.ap.has(l.ap.set(rights)) {
		l.applied()
	}
}

// inheriting reports whether it is still open who holds what a predecessor held.
func (l *membersLoop) inheriting() bool {
	for _, s := range l.order {
		if s.inherited && s.tenure == pending {
			return true
		}
		s.inherited = false
	}
	return false
}

// holds reports whether this node has any right that needs renewal.
func (l *membersLoop) holds() bool {
	for _, s := range l.order {
		if s.tenure == held || s.tenure == quiet {
			return true
		}
	}
	return false
}

// clear reports whether nothing is held, passed or in the kernel any more.
func (l *membersLoop) clear() bool {
	for _, s := range l.order {
		if s.tenure != idle || s.shown {
			return false
		}
	}
	return l.ap.has(l.ap.set(nil))
}

// end returns when what is held is lost without a renewal; zero where nothing is.
func (l *membersLoop) end() time.Time {
	if !l.holds() {
		return time.Time{}
	}
	return l.withdrawAt()
}

// withdrawAt returns when a holder that was not able to renew withdraws.
func (l *membersLoop) withdrawAt() time.Time {
	return earlier(l.renewed.Add(l.cfg.RenewDeadline), l.cfg.fence(l.renewed))
}
