package election

import (
	"slices"
	"time"
)

// survey looks at the others with regard to s.
func (l *membersLoop) survey(s *stake, now time.Time) (out survey) {
	// As others see this node: what it has not written yet does not count.
	mine := rankOf(l.id, s, l.written)
	listed, tried := false, false
	for name, o := range l.view.members {
		lists := o.record.Claims.hasAny(s.parts)
		suspect := l.view.suspect(o, now)
		if o.unread && !l.view.void(o) {
			if l.keeps(s) {
				continue // what it listed before its record could not be read says less than that
			}
			out.veil(name, s, suspect)
			listed, tried = true, true // for all that can be said
			switch {
			case suspect:
				out.proof = later(out.proof, o.changed.Add(o.duration))
			case s.claim.allows(o.node):
				out.candidates++
			}
			continue
		}
		theirs := rankOf(o.id, s, o.record)
		if lists && !l.view.void(o) {
			s.last = name
			listed, tried = true, tried || !o.record.Untried.hasAny(s.parts)
			out.blocked = true
			out.kept = out.kept || !o.record.Offered.hasAny(s.parts)
			if suspect {
				out.proof = later(out.proof, o.changed.Add(o.duration))
			}
			contends := !suspect && !o.record.Starts && theirs.better(mine)
			out.contender = out.contender || contends
			out.heir = out.heir || contends && o.proven()
			out.partial = out.partial || !suspect && s.keptApart(o.record)
		}
		if !suspect && o.record.Serves && s.claim.allows(o.node) {
			out.candidates++
			if theirs.better(mine) {
				out.better++
			}
		}
	}
	if listed { // who contends with this node knows no more than that
		s.tried = tried || s.tried && s.tenure != idle
	}
	return out
}

// move makes at most one step of one claim.
func (l *membersLoop) move(s *stake, due *alarm) {
	now := due.now
	see := l.survey(s, now)
	see.contender = see.contender || !s.wanted && l.outranked(s, now)
	stands := s.wanted && s.claim.stands(l.cfg.Identity) && !l.stopping
	yields := stands && s.claim.Yields
	// What is offered is for the others as if nobody had it: who suits it best may not stand for it.
	if see.kept || see.blocked && yields || s.tenure != idle {
		s.unclaimed = time.Time{}
	} else if s.unclaimed.IsZero() {
		s.unclaimed = now
	}
	dropped := !s.wanted && !l.replaced(s)
	switch {
	case !s.listed(), stands && !yields:
		s.leaving = time.Time{}
	case yields && s.leaving.IsZero():
		s.leaving = now
	}
	switch s.tenure {
	case idle:
		takes := stands && !l.blind && !see.veiled && l.due(s, see, due)
		s.unfit = takes && !l.room.fits(s)
		if takes && !s.unfit {
			s.tenure, s.seq, s.taken = pending, l.nextSeq, time.Time{}
		}
	case pending:
		switch {
		case !stands, l.blind, see.veiled, see.contender, see.partial:
			l.retract(s)
		case l.delivered >= s.seq && !see.blocked && now.Before(l.withdrawAt()):
			s.take(now)
			l.cfg.Metrics.gain(l.cfg.Group, l.how(s), 1)
		default:
			l.proof = later(l.proof, see.proof)
		}
	case held:
		switch {
		case dropped, !s.wanted && l.covered(s):
			s.tenure = removing
		case (see.heir || see.contender && !stands) && !(!s.wanted && l.disputed(s)):
			s.tenure, s.until, s.letIn, s.heard = quiet, l.cfg.fence(l.renewed), time.Time{}, false
		case !stands:
			l.offer(s, see, due)
		}
	case quiet:
		switch {
		case dropped:
			s.tenure = removing
		case !see.contender:
			s.tenure = held
		}
	case letGo:
		ended := !s.letIn.IsZero() && due.reached(s.letIn.Add(passing))
		if dropped || s.heard || ended || due.reached(s.until) {
			s.tenure = idle
			l.cfg.Metrics.lose(l.cfg.Group, "passed", 1)
		}
	}
}

// orphaned reports whether who listed s last is dead, and did not retract it.
func (l *membersLoop) orphaned(s *stake) bool {
	o := l.view.members[s.last]
	return o != nil && !o.released && o.record.Claims.hasAny(s.parts)
}

func (l *membersLoop) how(s *stake) string {
	if l.orphaned(s) {
		return "failover"
	}
	return "free"
}

// due reports whether this node lists a claim now that it does not list: at once when it is the best, and later the more
// better ones there are, as long as nobody does.
func (l *membersLoop) due(s *stake, see survey, due *alarm) bool {
	switch {
	case see.contender, see.partial:
		return false
	case s.claim.Yields && see.blocked:
		return false
	case s.claim.Yields:
		see.better = max(see.better, see.candidates)
	case see.better == 0 && !l.written.Yields:
		return true
	case see.kept:
		return false
	}
	return due.reached(s.unclaimed.Add(time.Duration(max(see.better, 1)) * l.cfg.RetryPeriod / 4))
}

// offer waits for somebody to list a claim that this node holds and may not go on holding, a second at most.
func (l *membersLoop) offer(s *stake, see survey, due *alarm) {
	if s.leaving.IsZero() {
		s.leaving = due.now
	}
	if !s.wanted && l.replaceable(s) {
		return // for as long as nobody can take what replaces it, such as while another node doesn't know of it yet
	}
	if see.candidates == 0 || due.reached(s.leaving.Add(passing)) {
		s.tenure = removing
	}
}

// retract takes a claim that is not held out of the list, once nothing of it is in the kernel from an earlier time.
func (l *membersLoop) retract(s *stake) {
	if s.shown {
		s.tenure = removing
	} else {
		s.tenure = idle
	}
}

// lapse ends every right of this node: none was renewed in time. Each claim begins anew.
func (l *membersLoop) lapse(why string) {
	n, again := 0, false
	for _, s := range l.order {
		switch s.tenure {
		case held, quiet:
			s.tenure, s.seq, s.taken = pending, l.nextSeq, time.Time{}
			l.view.touchAll(s.parts) // this node may hold them under another name as well
			n++
		case pending:
			s.seq, again = l.nextSeq, true
		}
	}
	l.view.stirred, l.unsure = true, l.unsure || again || n > 0 // the write that they wait for is made now
	if n > 0 {
		l.cfg.Log.Info("lost", "why", why, "claims", n)
		l.cfg.Metrics.lose(l.cfg.Group, why, n)
	}
}

// rights returns what this node may hold, sorted by claim.
func (l *membersLoop) rights() []Right {
	out := make([]Right, 0, len(l.written.Claims))
	fence := l.cfg.fence(l.renewed)
	for _, s := range l.order {
		r := Right{Claim: s.claim.Name, Until: fence, Failover: s.history == had, Contended: s.history == contended}
		switch s.tenure {
		case held:
		case quiet, letGo:
			r.Passing, r.Until = true, s.until
			if !s.letIn.IsZero() {
				r.Until = earlier(s.until, s.letIn.Add(passingFence))
			}
		default:
			continue
		}
		s.shown = s.shown || !r.Passing
		out = append(out, r)
	}
	return out
}

// applied takes in that the rights as they are now are true: what is shown as passing is not announced any more, and what
// is not shown is gone.
func (l *membersLoop) applied() {
	for _, s := range l.order {
		if s.tenure == held {
			continue
		}
		if s.shown {
			s.shown, l.view.stirred = false, true
		}
		if s.tenure == removing {
			s.tenure, l.view.stirred = idle, true
		}
	}
	l.view.stirred = l.view.stirred || len(l.inherited) > 0
	l.inherited = nil
}

// compose returns the record that is to be written now. A claim that is passed leaves the list here.
func (l *membersLoop) compose(now time.Time) record {
	r := record{
		Incarnation: l.self, Seq: l.nextSeq, Yields: l.asked.yielded || l.stopping || l.blind,
		Serves: l.asked.set || len(l.inherited) > 0, Starts: len(l.inherited) > 0 && !l.asked.set, Claims: set{}, Offered: set{}, Leases: l.asked.leases,
		Weight: l.weight, Stations: l.asked.stations, Ended: l.view.ended(), Untried: set{},
	}
	if l.stopping {
		r.Leases = nil
	}
	for id := range l.inherited {
		r.Claims[id] = struct{}{}
	}
	for _, s := range l.order {
		if !s.listed() || s.tenure == quiet && !s.shown {
			continue
		}
		if s.whole != 0 {
			r.Claims[s.whole] = struct{}{}
		}
		for _, id := range s.parts {
			r.Claims[id] = struct{}{}
			if s.goes() {
				r.Offered[id] = struct{}{}
			}
		}
	}
	l.tried = time.Time{}
	for _, s := range l.order {
		if s.listed() && s.untried(now) {
			r.Untried.add(s.parts)
			if !s.taken.IsZero() {
				l.tried = later(l.tried, s.taken.Add(trial))
			}
		}
	}
	for _, s := range l.order { // what this node itself takes under another name is not offered, nor untried when it has it
		if s.listed() && !s.goes() {
			r.Offered.remove(s.parts)
		}
		if s.listed() && !s.untried(now) {
			r.Untried.remove(s.parts)
		}
	}
	if len(r.Claims)+len(r.Offered)+len(r.Untried) > 2*l.room.most {
		r.Untried = nil // there is no room to say it
	}
	return r
}

// want takes in the claims that the agent set, sorted by name.
func (l *membersLoop) want(claims []Claim) {
	before := l.order
	l.order = make([]*stake, 0, max(len(before), len(claims)))
	changed := false
	var last *stake
	for _, c := range claims {
		for len(before) > 0 && before[0].claim.Name < c.Name {
			changed = before[0].unwant() || changed
			l.order, before = append(l.order, before[0]), before[1:]
		}
		if last == nil || last.claim.Name != c.Name {
			if len(before) > 0 && before[0].claim.Name == c.Name {
				last, before = before[0], before[1:]
			} else {
				last = l.stand(c)
			}
			l.order = append(l.order, last)
		}
		changed = last.want(c) || changed
	}
	for _, s := range before {
		changed = s.unwant() || changed
		l.order = append(l.order, s)
	}
	if !changed {
		return
	}
	l.wantedParts = make(map[uint64]*stake, len(claims))
	for _, s := range l.order {
		if s.wanted {
			for _, id := range s.parts {
				l.wantedParts[id] = s
			}
		}
	}
}

// stand makes the stake in a claim that is new to this node.
func (l *membersLoop) stand(c Claim) *stake {
	s := &stake{claim: c, place: c.place(), parts: c.parts(), tenure: idle}
	if len(s.parts) > 1 {
		s.whole = hash(c.Name)
	}
	l.stakes[c.Name] = s
	l.unsure = l.unsure || l.written.Claims.hasAny(s.parts) // a write of its own must list it, be the list the same
	if l.inherited.hasAny(s.parts) {
		s.tenure, s.seq, s.shown, s.inherited = pending, l.nextSeq, true, true
		s.taken = l.started.Add(-trial) // by the predecessor
		l.unsure = true
	}
	return s
}

// forget drops the stakes that nobody wants and nothing is left of.
func (l *membersLoop) forget() {
	l.order = slices.DeleteFunc(l.order, func(s *stake) bool {
		over := !s.wanted && s.tenure == idle && !s.shown
		if over {
			delete(l.stakes, s.claim.Name)
		}
		return over
	})
}
