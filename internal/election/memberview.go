package election

import (
	"fmt"
	"log/slog"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// member is another node as this one sees it.
type member struct {
	node     string
	id       uint64
	record   record
	version  string // resourceVersion
	duration time.Duration
	changed  time.Time // when the newest write was seen
	back     uint64    // its first write that was seen since it came, or came back
	released bool      // it left in good order: it has no rights
	unread   bool      // its newest record is not understood: it may list anything; record is what one before it listed
	deleted  bool      // its Lease is gone; what it held ends as if it were there
	ended    bool      // another member saw to it that every right of it is over
}

// view is what is known of the other members.
type view struct {
	timing  Timing
	group   string
	self    string // name of the own Lease
	log     *slog.Logger
	trouble func(text string)
	members map[string]*member // by name of their Lease
	// horizon is a moment such that every write made before it has been seen.
	horizon time.Time
	// stirred means that something changed that decisions depend on.
	stirred bool
	// standings are the members' as decisions were made on them last, and touched the parts of claims that were listed or
	// offered, or are no more, since.
	standings map[string]standing
	touched   set
}

// see takes in lease as it was delivered at now.
func (v *view) see(lease *coordinationv1.Lease, now time.Time) {
	o := v.members[lease.Name]
	if o != nil && o.version == lease.ResourceVersion && !o.deleted {
		return
	}
	r, err := parseRecord(lease.Annotations[recordAnnotation])
	unread := err != nil && holder(lease) != ""
	switch {
	case err == nil:
	case o != nil: // it lists no less than it did, as far as is known, and is given nothing
		r = o.record
		r.Serves, r.Leases = false, nil
	case !v.isMember(lease):
		return
	}
	if unread && (o == nil || !o.unread) {
		v.log.Warn("member record not understood, taking nothing new while that member lives", "member", lease.Name, "err", err)
		v.trouble(fmt.Sprintf("Lease %s/%s: %v. While its member renews it, this node keeps the addresses that it has and takes no others. "+
			"Where the agent of node %s is of another version, update one of the two; where none runs there, delete the Lease.",
			lease.Namespace, lease.Name, err, holder(lease)))
	}
	was := o
	o = &member{
		node: holder(lease), record: r, version: lease.ResourceVersion,
		duration: duration(lease, v.timing.LeaseDuration), changed: now, released: holder(lease) == "",
		unread: unread,
	}
	if o.released && was != nil {
		o.node = was.node
	}
	o.id = hash(o.node)
	o.back = r.Seq
	if was != nil && !was.released && !v.suspect(was, now) && was.record.Incarnation == r.Incarnation {
		o.back = was.back
	}
	v.members[lease.Name] = o
	if was != nil {
		v.touch(was.record.Claims, r.Claims)
		v.touch(was.record.Offered, r.Offered)
		v.touch(was.record.Untried, r.Untried)
		v.stirred = v.stirred || !maps.Equal(was.record.Untried, r.Untried)
	}
	if was == nil || was.released != o.released || was.deleted || was.unread != unread || v.suspect(was, now) || !was.record.same(r) ||
		was.record.Incarnation != r.Incarnation || was.proven() != o.proven() {
		v.stirred = true
	}
	if was == nil || !maps.Equal(was.record.Ended, r.Ended) {
		v.believe(r.Ended)
	}
}

// isMember reports whether lease, whose record can't be read, may be a member's all the same: it has one, or a member's name. What
// somebody labelled by mistake has neither.
func (v *view) isMember(lease *coordinationv1.Lease) bool {
	_, has := lease.Annotations[recordAnnotation]
	return has || lease.Name == memberName(v.group, holder(lease))
}

// unreadable returns how many live members have a record that is not understood.
func (v *view) unreadable(now time.Time) (n int) {
	for _, o := range v.members {
		if o.unread && !v.suspect(o, now) {
			n++
		}
	}
	return n
}

// list takes in a quorum list that was sent at sent.
func (v *view) list(items []coordinationv1.Lease, sent, now time.Time) {
	there := map[string]bool{}
	ended := set{}
	for i := range items {
		there[items[i].Name] = true
		if items[i].Name != v.self {
			v.see(&items[i], now)
			if o := v.members[items[i].Name]; o != nil {
				maps.Copy(ended, o.record.Ended)
			}
		} else if r, err := parseRecord(items[i].Annotations[recordAnnotation]); err == nil {
			maps.Copy(ended, r.Ended) // a predecessor of this process says it
		}
	}
	v.believe(ended)
	for name, o := range v.members {
		if !there[name] && !o.deleted {
			o.deleted, v.stirred = true, true
		}
	}
	v.horizon = later(v.horizon, sent)
}

// forget takes in that a Lease was deleted. That ends no right of its member.
func (v *view) forget(name string) {
	if o := v.members[name]; o != nil && !o.deleted {
		o.deleted, v.stirred = true, true
	}
}

// suspect reports whether o has not renewed for so long that it is dead, as far as this node has seen.
func (v *view) suspect(o *member, now time.Time) bool {
	return o.released || o.deleted || o.ended || !now.Before(o.changed.Add(o.duration))
}

// proven reports whether o has written again since it came, or came back. It does so once its first write was answered, so what it
// sees is no older than that: an API server that just came back itself may let others see what o writes long before o sees theirs.
func (o *member) proven() bool { return o.record.Seq > o.back }

// void reports whether it is certain that every right of o is over; see [Members].
func (v *view) void(o *member) bool {
	return o.released || o.ended || !v.horizon.Before(o.changed.Add(o.duration))
}

// believe takes in which writes have ended, as others say.
func (v *view) believe(ended set) {
	if len(ended) == 0 {
		return
	}
	for _, o := range v.members {
		if !o.ended && !o.unread && ended.has(o.record.write()) {
			o.ended, v.stirred = true, true
		}
	}
}

// ended returns the writes that have ended and after which their members wrote no other, other than to leave.
func (v *view) ended() set {
	out := set{}
	for _, o := range v.members {
		if !o.released && !o.unread && v.void(o) {
			out[o.record.write()] = struct{}{}
		}
	}
	return out
}

// purge drops members whose Lease is gone and whose rights are over.
func (v *view) purge() {
	for name, o := range v.members {
		if o.deleted && v.void(o) {
			delete(v.members, name)
			v.stirred = true
		}
	}
}

// stations returns the members by the hardware addresses that they announce from, also those that left or died a moment ago.
func (v *view) stations() map[string]string {
	out := map[string]string{}
	for _, o := range v.members {
		for _, s := range o.record.Stations {
			out[s] = o.node
		}
	}
	return out
}

// live returns the members that are not suspect.
func (v *view) live(now time.Time) []member {
	var out []member
	for _, o := range v.members {
		if !v.suspect(o, now) {
			out = append(out, *o)
		}
	}
	return out
}

// gone returns the members of which it is certain that they have no right.
func (v *view) gone() []member {
	var out []member
	for _, o := range v.members {
		if o.node != "" && v.void(o) { // a Lease that was released before it was first seen tells of no node
			out = append(out, *o)
		}
	}
	return out
}
