package election

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SetGate makes gate be called whenever an elector made from c goes on: a test freezes the process there.
func (c *Config) SetGate(gate func()) { c.gate = gate }

// SetMissed makes every claim that [Members] leave alone be looked at all the same, and missed be told of those that should
// not have been.
func (c *Config) SetMissed(missed func(claim string)) { c.missed = missed }

// SetMostParts bounds what a member lists.
func (c *Config) SetMostParts(n int) { c.parts = n }

// MostParts is that bound otherwise.
const MostParts = mostParts

// RecordLength returns how long a record of n parts is that are all offered, of a member with much else to say.
func RecordLength(n int) int {
	r := record{
		Incarnation: newIncarnation(strings.Repeat("x", 64)), Seq: 1 << 60, Serves: true, Yields: true, Weight: mostWeight, Claims: set{}, Offered: set{},
		Ended: set{},
	}
	for i := range n {
		id := hash(strconv.Itoa(i))
		r.Claims[id], r.Offered[id] = struct{}{}, struct{}{}
	}
	for i := range 2000 {
		r.Ended[hash(strconv.Itoa(-i))] = struct{}{}
	}
	for range 16 {
		r.Stations = append(r.Stations, "02:00:00:00:00:01")
		r.Leases = append(r.Leases, strings.Repeat("x", 200))
	}
	return len(recordAnnotation) + len(r.String())
}

// RewriteRecord parses a member record and writes it again.
func RewriteRecord(text string) (string, error) {
	r, err := parseRecord(text)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// Attempt is how long a request may take when what depends on it is lost after left.
func (t Timing) Attempt(left time.Duration) time.Duration { return t.attempt(left) }

// LongestWait is the longest time until a second request after a first one that failed.
func (t Timing) LongestWait() time.Duration { return t.RetryPeriod / 10 }

// Period is how often each of so many leases of one process is renewed.
func (t Timing) Period(leases int) time.Duration {
	var p Pace
	p.leases.Store(int32(leases))
	return p.period(t)
}

// Mix is what the score of node for claim is made of.
func Mix(node, claim string) uint64 { return mix(hash(node), hash(claim)) }

// Score is the score of node for claim under a weight.
func Score(node, claim string, weight uint32) float64 { return score(hash(node), hash(claim), weight) }

// Undelivered sends n writes, one a second from began on, of which delivered is delivered, and returns which of them are remembered, and when
// the first of those was sent.
func Undelivered(n, delivered uint64, began time.Time) (seqs []uint64, first time.Time) {
	u := undelivered{}
	for seq := range n {
		u.add(seq+1, began.Add(time.Duration(seq+1)*time.Second))
	}
	u.delivered(delivered)
	return slices.Sorted(maps.Keys(u)), u.first()
}
