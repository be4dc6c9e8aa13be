package l2

import (
	"container/heap"
	"net/netip"
	"time"

	"daymark/internal/vip"
)

// entry is one address that is announced.
type entry struct {
	addr     vip.Address
	since    time.Time // when its announcements began
	sent     int       // how many of the first ones are over
	due      time.Time // of the next
	at       int       // in the queue; -1 when it isn't
	defended time.Time
}

// offset returns when, after an address was taken, its announcement number i (from 0) is made, before the slow refresh.
func offset(i int) (time.Duration, bool) {
	offsets := [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second}
	if i >= len(offsets) {
		return 0, false
	}
	return offsets[i], true
}

// begin makes e announce from the first one on, at now.
func (e *entry) begin(now time.Time) { e.since, e.sent, e.due = now, 0, now }

// first reports whether e is among its first announcements, or in the slow refresh.
func (e *entry) first() bool {
	_, ok := offset(e.sent)
	return ok
}

// next moves e on after an announcement made at now. What was missed meanwhile is left out, never made up for. The slow
// refresh of many addresses is spread evenly over the period, a few at each tick since epoch.
func (e *entry) next(now time.Time, period time.Duration, epoch time.Time) {
	if !e.first() {
		if e.due = e.due.Add(period); !e.due.After(now) {
			e.due = spread(e.addr.Prefix.Addr(), now, period, epoch)
		}
		return
	}
	for e.sent++; ; e.sent++ {
		o, ok := offset(e.sent)
		if !ok {
			e.due = spread(e.addr.Prefix.Addr(), now, period, epoch)
			return
		}
		if e.due = e.since.Add(o); e.due.After(now) {
			return
		}
	}
}

// tick is what refreshes wait for one another, so that a thousand addresses don't wake this process, and every other that hears
// them, a thousand times.
const tick = 200 * time.Millisecond

// spread returns a tick within the period after now, always at the same place in it for the same address.
func spread(addr netip.Addr, now time.Time, period time.Duration, epoch time.Time) time.Time {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range addr.As16() {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h ^= h >> 32 // its low bits are poor
	later := now.Add(time.Duration(h % uint64(period)))
	return later.Add(tick - later.Sub(epoch)%tick)
}

// queue is a heap of entries by when they are due.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.at = len(*q)
	*q = append(*q, e)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	e.at = -1
	return e
}

// put adds e, or moves it to where its due time belongs.
func (q *queue) put(e *entry) {
	if e.at < 0 {
		heap.Push(q, e)
		return
	}
	heap.Fix(q, e.at)
}

func (q *queue) remove(e *entry) {
	if e.at >= 0 {
		heap.Remove(q, e.at)
	}
}
