package datapath

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/vip"
)

// slot is where the kernel has an address: several IPv4 entries that differ in prefix length can share one.
type slot struct {
	index int
	addr  netip.Addr
}

// state is what is true in the kernel, as it told us, and what should be. Only apply and load change what is true.
type state struct {
	metric        uint32 // that marks what is ours
	loopbackScope uint8
	adopt         func(found vip.Address) bool
	promotes      func(link string) bool // promotesSecondaries
	links         map[int]Link
	byName        map[string]int
	addrs         map[slot][]entry
	written       map[slot]write           // of what is wanted
	order         []vip.Address            // what should be
	want          map[vip.Key]netip.Prefix // the same by key
	ops           []op                     // room for a plan
	swept         bool
	agents        map[uint32]bool // the metrics of other agents that were seen to live
}

// event is a message of the kernel about an address or a link.
type event struct {
	gone  bool
	link  *Link
	entry *entry
}

// parseEvent reads a notification or one part of a dump; ok is false for messages of other kinds.
func parseEvent(m message, now time.Time) (ev event, ok bool, err error) {
	switch m.kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// A port that leaves its bridge is told as RTM_DELLINK of family AF_BRIDGE; the link stays.
		if len(m.payload) > 0 && m.payload[0] != unix.AF_UNSPEC {
			return event{}, false, nil
		}
		l, err := parseLink(m.payload)
		return event{gone: m.kind == unix.RTM_DELLINK, link: &l}, err == nil, err
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		e, err := parseAddress(m.payload)
		e.seen = now
		return event{gone: m.kind == unix.RTM_DELADDR, entry: &e}, err == nil, err
	}
	return event{}, false, nil
}

// apply takes note of ev. It reports whether that can make something wanted untrue, or let it be had, and whether a link
// changed in what [Link] tells.
func (s *state) apply(ev event) (matters, linkChanged bool) {
	switch {
	case ev.link != nil:
		changed := s.applyLink(*ev.link, ev.gone)
		return changed, changed
	case ev.gone:
		at := slot{ev.entry.index, ev.entry.prefix.Addr()}
		s.addrs[at] = slices.DeleteFunc(s.addrs[at], func(e entry) bool { return e.prefix == ev.entry.prefix })
		if len(s.addrs[at]) == 0 {
			delete(s.addrs, at)
		}
		return true, s.told(*ev.entry)
	default:
		met := s.meet(*ev.entry)
		at := slot{ev.entry.index, ev.entry.prefix.Addr()}
		i := slices.IndexFunc(s.addrs[at], func(e entry) bool { return e.prefix == ev.entry.prefix })
		if i < 0 {
			s.addrs[at] = append(s.addrs[at], *ev.entry)
			return true, met || s.told(*ev.entry)
		}
		old := s.addrs[at][i]
		ev.entry.initial, ev.entry.unwanted = old.initial, old.unwanted
		s.addrs[at][i] = *ev.entry
		changed := met || s.told(old) != s.told(*ev.entry) || s.ours(old) != s.ours(*ev.entry)
		return changed || old.permanent() != ev.entry.permanent(), changed
	}
}

func (s *state) applyLink(l Link, gone bool) (changed bool) {
	old, known := s.links[l.Index]
	if known {
		delete(s.byName, old.Name)
	}
	if !gone {
		s.links[l.Index], s.byName[l.Name] = l, l.Index
		return !known || !old.equal(l)
	}
	delete(s.links, l.Index)
	maps.DeleteFunc(s.addrs, func(at slot, _ []entry) bool { return at.index == l.Index })
	maps.DeleteFunc(s.written, func(at slot, _ write) bool { return at.index == l.Index })
	return known
}

// load replaces what is true by a dump. first says that it is the one of the start, which decides what may be adopted.
func (s *state) load(dump []event, first bool) {
	old := s.addrs
	s.links, s.byName, s.addrs = map[int]Link{}, map[string]int{}, map[slot][]entry{}
	for _, ev := range dump {
		s.apply(ev)
	}
	for at, entries := range s.addrs {
		for i := range entries {
			e := &entries[i]
			e.initial, e.unwanted = first, first && s.ours(*e)
			for _, before := range old[at] {
				if before.prefix == e.prefix {
					e.initial, e.unwanted = before.initial, before.unwanted
				}
			}
		}
	}
}

// setWant makes want the whole of what should be.
func (s *state) setWant(want []vip.Address) {
	before := s.order
	s.order = vip.Union(want)
	if slices.EqualFunc(before, s.order, func(a, b vip.Address) bool { return a.Prefix == b.Prefix && a.Link == b.Link }) {
		return // only rights were renewed
	}
	clear(s.want)
	for _, a := range s.order {
		s.want[a.Key()] = a.Prefix
		entries := s.addrs[slot{s.byName[a.Link], a.Prefix.Addr()}]
		for i := range entries {
			entries[i].unwanted = false
		}
	}
	maps.DeleteFunc(s.written, func(at slot, _ write) bool {
		_, ok := s.want[vip.Key{Addr: at.addr, Link: s.links[at.index].Name}]
		return !ok
	})
}

// ours reports whether e carries our mark.
func (s *state) ours(e entry) bool { return e.metric == s.metric }

// own reports whether e is the node's own: neither an agent's nor left by a predecessor.
func (s *state) own(e entry) bool { return !s.ours(e) && e.proto != Protocol && !s.left(e) }

// told reports whether e is one of those that [Link] tells of as somebody's.
func (s *state) told(e entry) bool { return s.own(e) || s.another(e) }

// left reports whether e looks like what another program left behind that held VIPs before us; see [Config.Adopt].
func (s *state) left(e entry) bool {
	if !e.initial || e.proto != 0 || s.ours(e) {
		return false
	}
	if s.adopt != nil {
		return s.adopt(vip.Address{Prefix: e.prefix, Link: s.links[e.index].Name})
	}
	return e.permanent() && (e.prefix.IsSingleIP() || e.prefix.Addr().Is4() && e.flags&unix.IFA_F_SECONDARY != 0)
}

// adoptable reports whether e, which isn't ours, may become ours because want asks for it. An agent's is its own while it lives.
func (s *state) adoptable(e entry, want vip.Address) bool {
	left := e.initial && e.proto == Protocol || s.left(e) && (e.prefix.IsSingleIP() || e.prefix == want.Prefix)
	return left && !lives(e.metric)
}

// held returns what is ours in the kernel, in order.
func (s *state) held(pick func(entry) bool) []vip.Address {
	var out []vip.Address
	for at, entries := range s.addrs {
		for _, e := range entries {
			if s.ours(e) && pick(e) {
				out = append(out, vip.Address{Prefix: e.prefix, Link: s.links[at.index].Name, Until: s.written[at].until})
			}
		}
	}
	slices.SortFunc(out, vip.Compare)
	return out
}

// count returns how many addresses in the kernel are ours.
func (s *state) count() (n int) {
	for _, entries := range s.addrs {
		for _, e := range entries {
			if s.ours(e) {
				n++
			}
		}
	}
	return n
}

func compareKeys(a, b vip.Key) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr))
}
