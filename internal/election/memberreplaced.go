package election

import (
	"slices"
	"time"
)

// What belongs together changes: a claim is not wanted any more, and its parts are those of others that are. It is kept or passed
// with regard to these.

// replaced reports whether a part of s, which is not wanted any more, is one of a claim that is. Then s is not dropped but
// handed over to who is to hold that claim, be it this node itself.
func (l *membersLoop) replaced(s *stake) bool {
	return slices.ContainsFunc(s.parts, func(id uint64) bool { return l.wantedParts[id] != nil })
}

// replaceable reports whether this node may hold what replaces s.
func (l *membersLoop) replaceable(s *stake) bool {
	return slices.ContainsFunc(s.parts, func(id uint64) bool {
		return l.wantedParts[id] != nil && l.wantedParts[id].claim.stands(l.cfg.Identity)
	})
}

// outranked reports whether a better node lists something that replaces s, and that this node therefore doesn't list. For s itself
// that one may be the worse, as what replaces s has a place of its own: each would wait for the other.
func (l *membersLoop) outranked(s *stake, now time.Time) bool {
	return slices.ContainsFunc(s.parts, func(id uint64) bool {
		by := l.wantedParts[id]
		return by != nil && !by.listed() && l.survey(by, now).contender
	})
}

// disputed reports whether somebody keeps a part of what replaces s from who would take it, and does not hand it over: a node
// that does not know of it yet. Passing s on would leave it to nobody.
func (l *membersLoop) disputed(s *stake) bool {
	for _, id := range s.parts {
		by := l.wantedParts[id]
		for _, o := range l.view.members {
			if by != nil && !l.view.void(o) && o.record.Claims.hasAny(by.parts) && !o.record.Claims.hasAny(s.parts) &&
				!o.record.Offered.hasAny(by.parts) {
				return true
			}
		}
	}
	return false
}

// keeps reports whether this node holds all parts of s under other names: then nobody else does, whatever can't be read.
func (l *membersLoop) keeps(s *stake) bool {
	return s.tenure != held && !slices.ContainsFunc(s.parts, func(id uint64) bool {
		return !l.written.Claims.has(id) || !slices.ContainsFunc(l.order, func(o *stake) bool {
			return o != s && o.tenure == held && slices.Contains(o.parts, id)
		})
	})
}

// covered reports whether this node holds what replaces s.
func (l *membersLoop) covered(s *stake) bool {
	for _, id := range s.parts {
		if by := l.wantedParts[id]; by != nil && by.tenure != held {
			return false
		}
	}
	return true
}
