package election

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// answered takes in what became of a request.
func (l *membersLoop) answered(a answer, now time.Time) {
	if a.kind != "read" {
		l.req.wrote(now.Sub(a.sent))
		l.cfg.Metrics.wrote(l.cfg.Group, now.Sub(a.sent), a.err)
	}
	switch {
	case a.err == nil:
		l.needRead = false
		l.backoff.done(a.kind)
		l.observe(a.lease, a.sent, now)
		if a.kind == "write" {
			l.acknowledge(a.seq, a.sent, now)
		}
		l.left = l.left || a.kind == "release"
	case a.kind == "read" && apierrors.IsNotFound(a.err):
		l.needRead = false
		l.backoff.done(a.kind)
		l.observe(nil, a.sent, now)
	default:
		l.unsure = true
		if a.kind != "read" && refused(a.err) {
			delete(l.sent, a.seq)
			l.owned.refuse(a.err)
		}
		if contradicted(a.err) {
			l.needRead, l.retryAt = true, l.backoff.conflict(now, l.end())
			signal(l.watch.stale)
			return
		}
		l.inquiry.undecided()
		var first bool
		if l.retryAt, first = l.backoff.failed(a, now, l.end()); first {
			l.cfg.Log.Warn("request failed, trying on", "request", a.kind, "err", a.err)
		}
	}
}

// acknowledge takes in that the write seq, sent at sent, is known to have succeeded.
func (l *membersLoop) acknowledge(seq uint64, sent, now time.Time) {
	if seq > l.known { // the answer and the watch both tell; what became doubtful between the two stays so
		l.known = seq
		l.unsure = l.unsure && seq+1 != l.nextSeq
	}
	if !l.renewed.IsZero() && !now.Before(l.cfg.fence(l.renewed)) {
		l.lapse("deadline") // others may have taken over meanwhile; what is listed now must be written once more
	}
	l.renewed, l.fresh = later(l.renewed, sent), true
	for _, s := range l.order {
		if s.tenure == letGo && s.letIn.IsZero() && s.seq <= seq {
			s.letIn = sent
		}
		l.view.stirred = l.view.stirred || s.tenure != held && s.tenure != idle
	}
	for _, o := range l.view.members { // it may be certain now that one is dead
		l.view.stirred = l.view.stirred || l.view.suspect(o, now)
	}
}

// saw takes in what the watch tells.
func (l *membersLoop) saw(e event, now time.Time) {
	if e.listed {
		var own *coordinationv1.Lease
		for i := range e.list {
			if e.list[i].Name == l.name {
				own = &e.list[i]
			}
		}
		first := !l.joined
		l.joined = true
		l.view.list(e.list, e.sent, now)
		l.observe(own, e.sent, now)
		if first {
			l.inherit()
		}
		l.deliver(own, now)
		l.view.stirred = true
		return
	}
	switch {
	case e.lease.Name != l.name && e.deleted:
		l.view.forget(e.lease.Name)
	case e.lease.Name != l.name:
		l.view.see(e.lease, now)
	case version(e.lease) > l.rv && e.deleted:
		l.rv = version(e.lease)
		l.learn(nil, now)
	default:
		if version(e.lease) > l.rv {
			l.rv = version(e.lease)
			l.learn(e.lease, now)
		}
		before := l.delivered
		l.deliver(e.lease, now)
		l.doubted = l.doubted && l.delivered == before
	}
}

// deliver takes in that the watch delivered lease, this node's own: every write before it was seen.
func (l *membersLoop) deliver(lease *coordinationv1.Lease, now time.Time) {
	r := l.ownStamp
	if lease != l.own {
		r = stampOf(lease)
	}
	if lease == nil || !l.wrote(r) || r.Seq <= l.delivered {
		return
	}
	sent, ok := l.sent[r.Seq]
	if !ok {
		return
	}
	l.delivered = r.Seq
	l.view.horizon = later(l.view.horizon, sent)
	l.acknowledge(r.Seq, sent, now)
	l.sent.delivered(r.Seq)
}
