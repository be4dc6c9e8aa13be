package election

import (
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// answered takes in what became of a request.
func (l *leaseLoop) answered(a answer, now time.Time) {
	if a.kind != "read" {
		l.req.wrote(now.Sub(a.sent))
		l.cfg.Metrics.wrote(l.Name(), now.Sub(a.sent), a.err)
	}
	switch {
	case a.err == nil:
		l.needRead = false
		l.backoff.done(a.kind)
		l.observe(a.lease, a.sent, now)
	case a.kind == "read" && apierrors.IsNotFound(a.err):
		l.needRead = false
		l.backoff.done(a.kind)
		l.observe(nil, a.sent, now)
		return
	case contradicted(a.err):
		// Somebody else wrote, and the watch has not told yet.
		l.needRead, l.retryAt = true, l.backoff.conflict(now, l.end())
		signal(l.watch.stale)
		return
	default:
		l.failed(a, now)
		return
	}
	switch a.kind {
	case "take", "renew":
		l.gained(a.sent, now)
	case "pass":
		at := a.sent
		if l.phase == preparing && l.stopBy.IsZero() { // an answer that took long tells of a successor that may just have come
			at = later(at, now.Add(-confirmation/2))
		}
		l.letIn(at)
	case "release":
		l.cfg.Log.Info("released")
		l.phase = following
	}
}

// failed takes in that it is not known what became of a request.
func (l *leaseLoop) failed(a answer, now time.Time) {
	l.inquiry.undecided()
	l.needRead = l.needRead || a.kind != "renew"
	at, first := l.backoff.failed(a, now, l.end())
	if l.retryAt = at; l.phase == following { // one that hung has waited long enough already
		l.retryAt = later(l.retryAt, a.sent.Add(l.cfg.RetryPeriod))
	}
	if first {
		l.cfg.Log.Warn("request failed, trying on", "request", a.kind, "err", a.err)
	}
}

// gained takes in that a write of this node as the holder was sent at sent and succeeded. Nobody else held the lease since
// the one before, whatever time has passed: the write compared the resourceVersion.
func (l *leaseLoop) gained(sent, now time.Time) {
	if !now.Before(earlier(l.cfg.fence(sent), sent.Add(l.cfg.RenewDeadline))) || !l.mine(l.lease) {
		return // too late to be of use: it is taken or renewed once more
	}
	l.renewed = sent
	if l.phase == preparing {
		l.give.until = l.cfg.fence(sent) // it was under way already
	}
	if l.phase == following || l.phase == passed {
		l.give, l.tried = handover{}, nil
		l.phase, l.failover, l.settled = holding, l.how == "failover" || l.how == "passed", true
		l.since = now
		l.cfg.Log.Info("elected", "how", l.how, "process", short(l.self))
		l.cfg.Metrics.gain(l.Name(), l.how, len(l.wants().names))
	}
}

// saw takes in what the watch tells.
func (l *leaseLoop) saw(e event, now time.Time) {
	l.echoed = now
	if !e.listed {
		if e.lease.Name == l.cfg.Name && version(e.lease) > l.rv {
			l.rv = version(e.lease)
			if e.deleted {
				l.take(nil, now)
			} else {
				l.take(e.lease, now)
			}
		}
		return
	}
	for i := range e.list {
		if e.list[i].Name == l.cfg.Name {
			l.observe(&e.list[i], e.sent, now)
			return
		}
	}
	l.observe(nil, e.sent, now)
}

// observe takes in what a read sent at sent said. It may be older than what the watch has told meanwhile; but when it
// contradicts what was known before it was sent, it is right (as after etcd was restored).
func (l *leaseLoop) observe(lease *coordinationv1.Lease, sent, now time.Time) {
	if l.known && !l.learned.Before(sent) && version(lease) < l.rv {
		l.needRead = l.needRead || lease == nil
		return
	}
	if lease != nil {
		l.rv = version(lease)
	}
	l.take(lease, now)
}

// take makes lease, nil when there is none, what is known.
func (l *leaseLoop) take(lease *coordinationv1.Lease, now time.Time) {
	if !l.known && l.alone && lease != nil && holder(lease) == l.cfg.Identity {
		if i := incarnation(lease.Annotations[incarnationAnnotation]); i.sameHost(l.self) {
			l.adopted = i
		}
	}
	if lease != nil && (l.last == nil || lease.ResourceVersion != l.last.ResourceVersion) {
		l.changed = now
		l.jitter = rand.N(l.cfg.RetryPeriod/50 + 1)
	}
	l.known, l.learned, l.lease = true, now, lease
	if lease != nil {
		l.last = lease
	}
	l.setHolder(holder(lease))
	l.judge()
}

// judge draws the consequences of what is known now.
func (l *leaseLoop) judge() {
	if l.lease == nil || l.mine(l.lease) || l.give.wrote(l.lease) {
		return
	}
	switch l.phase {
	case holding:
		l.lose("usurped")
	case preparing:
		if !l.give.named(l.lease) {
			l.lose("usurped")
			return
		}
		l.letIn(l.learned) // the successor's renewal overtook the answer
	case passed, dropping:
		l.give.confirmed = true
	}
}
