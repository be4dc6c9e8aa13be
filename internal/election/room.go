package election

import "fmt"

// room is what a member's record has for parts of claims. What doesn't fit is never listed, so that no write fails for its size, and the
// claims that are held are renewed whatever comes: others take the rest.
type room struct {
	most  int
	taken int // by what is listed, or about to be
	unfit int // claims that there was none for, when they were looked at last
}

// measure counts what is listed now. What a predecessor listed is listed too.
func (r *room) measure(stakes []*stake, inherited set) {
	r.taken = len(inherited)
	for _, s := range stakes {
		if s.listed() && !(len(inherited) > 0 && inherited.hasAny(s.parts)) {
			r.taken += s.size()
		}
	}
}

func (r *room) fits(s *stake) bool { return r.taken+s.size() <= r.most }

// short returns what is taken, while a claim waits for room: whatever comes free is of use to it.
func (r *room) short() int {
	if r.unfit == 0 {
		return 0
	}
	return r.taken
}

// outgrow takes in which claims found no room, and tells of it when that begins.
func (l *membersLoop) outgrow() {
	n := 0
	for _, s := range l.order {
		if s.unfit {
			n++
		}
	}
	if n > 0 && l.room.unfit == 0 {
		l.cfg.Log.Warn("no room in the member record, leaving claims to others", "claims", n, "parts", l.room.taken, "most", l.room.most)
		l.trouble(fmt.Sprintf("Lease %s/%s: this node is to hold more addresses than a Lease can list, %d, and leaves %d to others. "+
			"Where no other node takes them they are not served: add a node, or spread Services over the nodes.", l.cfg.Namespace, l.name, l.room.most, n))
	}
	if n != l.room.unfit {
		l.room.unfit = n
		l.cfg.Metrics.outgrew(l.cfg.Group, n)
	}
}
