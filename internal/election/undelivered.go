package election

import (
	"maps"
	"time"
)

// undelivered are a member's own writes that may still be delivered by its watch, with when each was sent. A write that was refused
// never is; of one that was not answered nobody knows.
type undelivered map[uint64]time.Time

// mostUndelivered bounds them while nothing is answered, such as without an API server: the first ones say for how long the watch is
// silent, and the last one is what it shows when it is back. What is delivered and was forgotten says nothing; the next write does.
const mostUndelivered = 64

// add takes in that the write seq, which is newer than all others, was sent at sent.
func (u undelivered) add(seq uint64, sent time.Time) {
	if len(u) >= mostUndelivered {
		delete(u, seq-1)
	}
	u[seq] = sent
}

// delivered forgets seq and those before it: a watch delivers in order.
func (u undelivered) delivered(seq uint64) {
	maps.DeleteFunc(u, func(s uint64, _ time.Time) bool { return s <= seq })
}

// first returns when the first one was sent; zero for none.
func (u undelivered) first() (first time.Time) {
	for _, at := range u {
		first = earlier(first, at)
	}
	return first
}
