package election

import (
	"maps"
	"time"
)

// Scores alone spread a thousand claims over three nodes within 5 % of even, give or take: one set of names in sixteen misses
// 10 %. So each member has a weight, which scores are multiplied by and which it publishes: one that lists far too many claims
// lowers its own, one that lists far too few raises it. Everybody ranks by the published weights, and a small change of one
// moves only the claims that it is about.
const (
	evenWeight     = 1000
	leastWeight    = evenWeight / 4
	mostWeight     = evenWeight * 4
	balancing      = 2 * time.Second // between two looks
	slackShare     = 14              // a fourteenth more or less than even, 7 %, is no reason to move anything,
	slackClaims    = 10              // and neither are so many claims
	greatestFactor = 2               // of one change
)

// load is how claims are spread, as this node sees it: its own, everybody's, and the members that share them.
type load struct{ own, all, members int }

// slack is how far a member may be from even.
func (l load) slack() int { return max(slackClaims, l.all/l.members/slackShare) }

// settled reports whether so little changed since was that l is worth judging.
func (l load) settled(was load) bool {
	d := l.own - was.own
	return was.members == l.members && max(d, -d) <= l.slack()/2
}

// reweigh returns the weight that makes this node's share even, given that it is weight now.
func (l load) reweigh(weight uint32) uint32 {
	even := l.all / l.members
	if d := l.own - even; max(d, -d) <= l.slack() {
		return weight
	}
	w := int(weight)
	to := w * even / max(l.own, 1)
	to = min(max(to, w/greatestFactor), w*greatestFactor)
	return uint32(min(max(to, leastWeight), mostWeight))
}

// keeps returns how many of what the record lists are not handed over.
func (r record) keeps() int { return len(r.Claims) - len(r.Offered) }

// shares reports whether a member with this record has a share that can be judged. One that keeps next to nothing has none yet, or can't
// take any, as while its link is down and for a while after.
func (r record) shares() bool { return r.keeps() > slackClaims }

// load counts what members list, other than what they hand over.
func (l *membersLoop) load(now time.Time) load {
	out := load{own: l.written.keeps(), members: 1}
	out.all = out.own
	for _, o := range l.view.live(now) {
		if o.record.Serves && !o.record.Yields && o.record.shares() {
			out.members++
			out.all += o.record.keeps()
		}
	}
	return out
}

// moving reports whether shares are on their way: somebody lists what another lists, too, and is to be passed it.
func (l *membersLoop) moving(now time.Time) bool {
	listed := maps.Clone(l.written.Claims)
	for _, o := range l.view.live(now) {
		for id := range o.record.Claims {
			if listed.has(id) {
				return true
			}
			listed[id] = struct{}{}
		}
	}
	return false
}

// balance corrects this node's weight where its share is far from even and nothing is on the move.
func (l *membersLoop) balance(due *alarm) {
	if !due.reached(l.weighed.Add(balancing)) {
		return
	}
	l.weighed = due.now
	if !l.written.Serves || l.written.Yields || l.stopping || !l.written.shares() {
		l.lastLoad = load{} // what it has then is no share: the first look after it is compared with nothing
		return
	}
	was, is := l.lastLoad, l.load(due.now)
	l.lastLoad = is
	if !is.settled(was) {
		return
	}
	if to := is.reweigh(l.weight); to != l.weight && !l.moving(due.now) {
		l.cfg.Log.Debug("weight changed", "from", l.weight, "to", to, "claims", is.own, "of", is.all, "members", is.members)
		l.weight, l.view.stirred = to, true
	}
}
