package election

import (
	"slices"
	"time"
)

// A look at a claim asks every member's record. Most claims are as they should be: held here, or listed by a better node. Of
// these a look says the same again until a part of the claim is listed, offered or retracted by somebody, or something changes
// that is about all claims. So what a change costs goes with the claims that it touches.

// standing is what is about all claims of a member, this node included, as far as decisions depend on it.
type standing struct {
	node                   string
	serves, starts, yields bool
	weight                 uint32
	suspect, void, unread  bool
	proven                 bool
	stopping, blind        bool // of this node
	taken                  int  // of the room in its record, while there is too little
}

// shifted reports whether the standing of any member, or this node's own, changed since it was asked last.
func (v *view) shifted(now time.Time, own standing) bool {
	shifted := false
	note := func(name string, is standing) {
		was, known := v.standings[name]
		shifted = shifted || !known || was != is
		v.standings[name] = is
	}
	note(v.self, own)
	for name, o := range v.members {
		note(name, standing{
			node: o.node, serves: o.record.Serves, starts: o.record.Starts, yields: o.record.Yields, weight: o.record.Weight,
			suspect: v.suspect(o, now), void: v.void(o), unread: o.unread, proven: o.proven(),
		})
	}
	for name := range v.standings {
		if name != v.self && v.members[name] == nil {
			delete(v.standings, name)
			shifted = true
		}
	}
	return shifted
}

// touch notes what is in only one of two sets.
func (v *view) touch(a, b set) {
	for id := range a {
		if !b.has(id) {
			v.touched[id] = struct{}{}
		}
	}
	for id := range b {
		if !a.has(id) {
			v.touched[id] = struct{}{}
		}
	}
}

// touchAll notes ids.
func (v *view) touchAll(ids []uint64) {
	for _, id := range ids {
		v.touched[id] = struct{}{}
	}
}

// decide moves every claim as far as it goes now.
func (l *membersLoop) decide(due *alarm) {
	l.room.measure(l.order, l.inherited)
	everything := l.view.shifted(due.now, standing{
		yields: l.written.Yields, weight: l.written.Weight, stopping: l.stopping, blind: l.blind, taken: l.room.short(),
	})
	touched := l.view.touched
	l.view.touched = set{}
	for _, s := range l.order {
		if !everything && s.rests() && !s.in(touched) && !s.in(l.view.touched) { // also by a claim that moved just now
			l.doubt(s, due.now)
			continue
		}
		var own alarm
		stays := false
		for range 4 { // a claim takes a few steps at most, and none of them twice
			own = alarm{now: due.now}
			was, listed := s.tenure, s.listed()
			l.move(s, &own)
			if !listed && s.listed() {
				l.room.taken += s.size()
			}
			if stays = s.tenure == was; stays {
				break
			}
			l.view.stirred = true
			l.view.touchAll(s.parts) // this node may hold them under another name as well
		}
		s.rest(stays && own.next.IsZero())
		due.next = earlier(due.next, own.next)
	}
	l.outgrow()
}

// rest notes whether the last look at s found nothing to do, now or at some moment.
func (s *stake) rest(nothing bool) {
	s.resting = ""
	if nothing && s.wanted && (s.tenure == idle || s.tenure == held) {
		s.resting = s.tenure
	}
}

// rests reports whether a look at s would find nothing to do, unless something changed that concerns it.
func (s *stake) rests() bool { return s.resting == s.tenure }

// doubt looks at a resting claim all the same, for a test, and tells when there was something to do.
func (l *membersLoop) doubt(s *stake, now time.Time) {
	if l.cfg.missed == nil {
		return
	}
	is, due := *s, alarm{now: now}
	l.move(&is, &due)
	if is.tenure != s.tenure || is.unclaimed != s.unclaimed || is.leaving != s.leaving || !due.next.IsZero() {
		l.cfg.missed(s.claim.Name)
	}
}

// in reports whether any of ids is about s.
func (s *stake) in(ids set) bool {
	return len(ids) > 0 && (ids.hasAny(s.parts) || s.whole != 0 && ids.has(s.whole))
}

// want notes that the agent wants c, the claim of s, and reports whether it did not before.
func (s *stake) want(c Claim) (changed bool) {
	if s.wanted && s.claim.sameNodes(c) {
		return false
	}
	changed = !s.wanted
	s.claim, s.wanted, s.resting = c, true, ""
	return changed
}

// unwant notes that the agent doesn't want s, and reports whether it did before.
func (s *stake) unwant() (changed bool) {
	changed = s.wanted
	s.wanted, s.resting = false, ""
	return changed
}

// sameNodes reports whether the same nodes may hold c and o, and this one as gladly, and with as much use.
func (c Claim) sameNodes(o Claim) bool {
	return c.Abstains == o.Abstains && c.Yields == o.Yields && c.Foreign == o.Foreign && slices.Equal(c.Nodes, o.Nodes) && (c.Nodes == nil) == (o.Nodes == nil)
}
