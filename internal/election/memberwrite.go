package election

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wrote reports whether s is by this process.
func (l *membersLoop) wrote(s stamp) bool {
	return s.Incarnation == l.self && s.node == l.cfg.Identity
}

// isMine reports whether the own Lease is this process's, as last known.
func (l *membersLoop) isMine() bool { return l.own != nil && l.wrote(l.ownStamp) }

// observe takes in what a read or a write of the own Lease, sent at sent, said; nil is none. See leaseLoop.observe.
func (l *membersLoop) observe(lease *coordinationv1.Lease, sent, now time.Time) {
	if l.own != nil && !l.learned.Before(sent) && version(lease) < l.rv {
		l.needRead = l.needRead || lease == nil
		return
	}
	if lease != nil {
		l.rv = version(lease)
	}
	l.learn(lease, now)
}

// learn makes lease what is known of the own Lease.
func (l *membersLoop) learn(lease *coordinationv1.Lease, now time.Time) {
	was := l.isMine()
	if lease == nil {
		l.owned.gone(l.own)
	}
	if lease == nil || l.own == nil || lease.ResourceVersion != l.own.ResourceVersion {
		l.changed = now
	}
	if lease != l.own {
		l.ownStamp = stampOf(lease)
	}
	l.own, l.learned = lease, now
	switch mine := l.isMine(); {
	case lease == nil:
		l.unsure = true // made again at once
	case was && !mine && holder(lease) != "":
		l.cfg.Log.Error("another process uses this node's name", "process", short(l.ownStamp.Incarnation))
		l.lapse("usurped")
		for _, s := range l.order {
			if s.tenure == pending || s.tenure == letGo {
				l.retract(s)
			}
		}
	}
}

// inherit takes over what a predecessor on this host listed: while that stays listed nobody else takes it.
func (l *membersLoop) inherit() {
	if !l.alone || l.own == nil || holder(l.own) != l.cfg.Identity {
		return
	}
	r, err := parseRecord(l.own.Annotations[recordAnnotation])
	if err != nil || !r.Incarnation.sameHost(l.self) {
		return
	}
	l.adopted, l.inherited, l.weight = r.Incarnation, r.Claims, r.Weight
}

// writable returns from when on the own Lease may be written: at once, unless another process writes it.
func (l *membersLoop) writable() time.Time {
	switch {
	case l.own == nil, holder(l.own) == "", l.isMine():
		return time.Time{}
	case l.adopted != "" && l.ownStamp.Incarnation == l.adopted:
		return time.Time{}
	}
	return l.changed.Add(duration(l.own, l.cfg.LeaseDuration))
}

// idleTimes is how much longer a member is taken for alive that lists no claim, and renews once in a lease duration: it costs
// little, and at worst a claim or lease is offered to a dead one first, for a fraction of a second.
const idleTimes = 2

// period is how long after a write the next one is due at the latest.
func (l *membersLoop) period() time.Duration {
	if len(l.written.Claims) > 0 {
		return l.req.period(l.cfg.Pace)
	}
	return l.cfg.LeaseDuration
}

// write writes the record when it is due, or when it says something new.
func (l *membersLoop) write(due *alarm) {
	if !l.joined || l.req.busy || l.needRead || !due.reached(later(l.retryAt, l.writable())) {
		return
	}
	if !l.composed || !l.tried.IsZero() && !due.now.Before(l.tried) {
		l.next, l.composed = l.compose(due.now), true
		l.news = !l.next.same(l.written)
	}
	next := l.next
	next.Seq = l.nextSeq
	now := l.unsure || l.lastSent.IsZero() || l.lastSent.Before(l.proof) || l.doubted && len(l.sent) == 0
	soon := l.news && due.reached(l.lastSent.Add(writeGap))
	inTurn := l.lastSent.Add(l.period())
	if !now && !soon && !due.reached(l.inquiry.turn(inTurn, l.lastSent)) {
		return
	}
	l.inquiry.renewing(due.now, inTurn)
	for _, s := range l.order {
		if s.tenure == quiet && !s.shown { // as compose left it out
			s.tenure, s.seq = letGo, next.Seq
		}
	}
	l.view.stirred = l.view.stirred || l.news // others rank this node by it, and so does it itself
	l.put("write", next, l.cfg.Identity)
	l.sent.add(next.Seq, l.lastSent)
	l.nextSeq++
}

// release writes that this member has left.
func (l *membersLoop) release(due *alarm) {
	if l.req.busy || l.needRead || !due.reached(l.retryAt) {
		return
	}
	l.put("release", record{Incarnation: l.self, Seq: l.nextSeq, Ended: l.view.ended()}, "")
	l.nextSeq++
}

// put sends r as the own Lease's record, over what is known of the Lease.
func (l *membersLoop) put(kind string, r record, holder string) {
	now := metav1.NewMicroTime(time.Now())
	seconds := l.cfg.seconds()
	switch {
	case holder == "":
		seconds = 1
	case len(r.Claims) == 0:
		seconds *= idleTimes // nobody waits for the end of what holds nothing
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.cfg.Namespace, Name: l.name}}
	if l.own != nil {
		lease = l.own.DeepCopy()
	}
	lease.Labels = with(lease.Labels, memberLabel, l.cfg.Group)
	lease.Annotations = with(lease.Annotations, recordAnnotation, r.String())
	l.mu.Lock()
	owner := l.owner
	l.mu.Unlock()
	l.owned.name(lease, owner, holder == "")
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &holder, &seconds, &now
	if !l.isMine() || lease.Spec.AcquireTime == nil {
		lease.Spec.AcquireTime = &now
	}
	create := l.own == nil
	l.view.touch(l.written.Claims, r.Claims)
	l.view.touch(l.written.Offered, r.Offered)
	l.written, l.news = r, false
	l.lastSent = l.req.send(kind, r.Seq, func(ctx context.Context) (*coordinationv1.Lease, error) {
		if create {
			return l.client.Create(ctx, lease, metav1.CreateOptions{})
		}
		return l.client.Update(ctx, lease, metav1.UpdateOptions{})
	})
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
