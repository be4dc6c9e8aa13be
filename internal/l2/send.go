package l2

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"daymark/internal/vip"
)

// sendDueLocked makes the announcements that are due, at most a burst, and returns how long nothing else is.
func (a *Announcer) sendDueLocked() time.Duration {
	for sent := 0; len(a.queue) > 0; {
		e := a.queue[0]
		now := time.Now()
		if wait := e.due.Sub(now); wait > 0 {
			return wait
		}
		if sent >= burst {
			return pause
		}
		sent += a.sendEntryLocked(e, now)
	}
	return time.Hour // Set wakes us
}

// sendEntryLocked makes the announcement of e that is due and says when the next one is.
func (a *Announcer) sendEntryLocked(e *entry, now time.Time) (sent int) {
	key := e.addr.Key()
	p, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)})
	switch {
	case err != nil:
		a.metrics.failed.Inc()
		e.due = now.Add(retry)
		a.queue.put(e)
		return 1
	case p.conn == nil:
		a.queue.remove(e)
		return 0
	}
	frames := refresh
	if e.first() {
		frames = announcements
	}
	if _, lasted := a.sendLocked(p, e.addr, frames); !lasted {
		a.queue.remove(e) // until Set renews the right
		return 0
	}
	e.next(now, a.period, a.epoch)
	a.queue.put(e)
	return 2
}

// sendLocked sends the frames of addr, as long as the right to hold it lasts: this is the fence. It returns how many of them left, and
// whether the right lasted.
func (a *Announcer) sendLocked(p *port, addr vip.Address, frames func(netip.Addr, MAC) [][]byte) (left int, lasted bool) {
	for _, frame := range frames(addr.Prefix.Addr(), p.conn.MAC()) {
		if !addr.Live(time.Now()) {
			a.metrics.suppressed.Inc()
			a.log.Debug("not announced: the right has run out", "addr", addr.Prefix.Addr(), "link", addr.Link)
			return left, false
		}
		if a.sendFrameLocked(p, frame) {
			left++
		}
	}
	return left, true
}

// sendFrameLocked sends a frame of an announcement, and reports whether it left. A link that is down loses it: everything is announced
// anew when it comes up. So does one that is busy, and the next announcement makes up for it.
func (a *Announcer) sendFrameLocked(p *port, frame []byte) bool {
	if a.tryLocked(p, frame) != nil {
		a.metrics.failed.Inc()
		return false
	}
	a.metrics.sent.WithLabelValues(string(p.family)).Inc()
	return true
}

// tryLocked sends a frame. A port that is of no more use is closed, and opened anew by whoever needs it next.
func (a *Announcer) tryLocked(p *port, frame []byte) error {
	err := p.conn.Send(frame)
	if err != nil && !errors.Is(err, ErrLinkDown) && !errors.Is(err, ErrBusy) && a.ports[p.portKey] == p {
		a.log.Debug("frame not sent", "link", p.link, "family", string(p.family), "err", err)
		_ = a.closePortLocked(p.portKey)
	}
	return err
}

// Defend announces an address once more, in answer to a foreign claim, at most once in 10 s for each (RFC 5227, 2.4 c), and
// only while it is announced anyway and the right to hold it lasts. It reports whether anything of that left; what the link lost is no
// defence, and the next claim may be answered at once.
func (a *Announcer) Defend(key vip.Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, now := a.entries[key], time.Now()
	if e == nil || !e.defended.IsZero() && now.Sub(e.defended) < defence {
		return false
	}
	p, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)})
	if err != nil || p.conn == nil {
		return false
	}
	if left, _ := a.sendLocked(p, e.addr, announcements); left == 0 {
		return false
	}
	e.defended = now
	a.metrics.defence.Inc()
	return true
}

// linksChanged takes in what links there are. On one that came up or was replaced everything is announced anew.
func (a *Announcer) linksChanged(links []Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	clear(a.refused)
	old := a.links
	a.links = make(map[string]Link, len(links))
	for _, l := range links {
		a.links[l.Name] = l
	}
	for name, was := range old {
		if is, ok := a.links[name]; !ok || is.Index != was.Index || is.MAC != was.MAC {
			_ = errors.Join(a.closePortLocked(portKey{name, IPv4}), a.closePortLocked(portKey{name, IPv6}))
		}
	}
	for _, e := range a.entries {
		was, known := old[e.addr.Link]
		is := a.links[e.addr.Link]
		replaced := !known || was.Index != is.Index || was.MAC != is.MAC || !was.Running
		if is.Running && len(old) > 0 && replaced {
			e.begin(now)
			a.queue.put(e)
		}
	}
	a.poke()
}

func sortedPorts(set map[portKey]bool) []portKey {
	return slices.SortedFunc(maps.Keys(set), func(x, y portKey) int {
		return cmp.Or(cmp.Compare(x.link, y.link), cmp.Compare(x.family, y.family))
	})
}
