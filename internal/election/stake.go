package election

import (
	"cmp"
	"slices"
	"time"
)

// tenure is where this node stands with one claim.
type tenure string

const (
	idle     tenure = "idle"     // not listed
	pending  tenure = "pending"  // listed, not held
	held     tenure = "held"     // listed and held
	quiet    tenure = "quiet"    // listed, and shown as passing: retracted as soon as that is true
	letGo    tenure = "passing"  // retracted; answered for until the successor is heard
	removing tenure = "removing" // listed, not held: retracted as soon as it is in the kernel no more
)

// stake is one claim that this node stands for, or did.
type stake struct {
	claim  Claim
	place  uint64   // decides who suits it best
	parts  []uint64 // that are listed
	whole  uint64   // listed beside several parts, so that others see who knows that they belong together; else zero
	tenure tenure
	wanted bool // in the set
	unfit  bool // idle, and it would be listed if there were room for it

	seq       uint64    // pending: the write that lists it first
	unclaimed time.Time // since when nobody lists it; zero while somebody does
	leaving   time.Time // since when it is offered
	last      string    // the Lease of the member that was last seen to list it
	tried     bool      // another node held it, or said that one did, for long enough to know whether it is free, and it was
	taken     time.Time // since when this node has it; zero before that
	history   history   // when it was taken
	shown     bool      // it may be in the kernel and announced: it was shown, and not yet taken away
	inherited bool      // a predecessor listed it, and it is not settled yet who holds it
	until     time.Time // letGo: the end of the right
	letIn     time.Time // letGo: when the write without it was sent; zero until that is answered
	heard     bool
	resting   tenure // in which nothing is to be done, until something changes that concerns it; see rests
}

// trial is for how long a node must have had a claim to know whether its addresses are free. It probes for them, which takes a quarter of
// a second at most, and an agent that has just started is slow.
const trial = 500 * time.Millisecond

// untried reports whether it is not known whether s is free: nobody had it for long enough; or that it isn't.
func (s *stake) untried(now time.Time) bool {
	return s.claim.Foreign || !s.tried && (s.taken.IsZero() || now.Before(s.taken.Add(trial)))
}

// history is who had a claim before this node took it.
type history string

const (
	nobody    history = ""
	contended history = "contended" // another node listed it, and may have had it for a moment
	had       history = "had"       // another node, for certain or as far as can be said
)

// take notes that this node has s from now on.
func (s *stake) take(now time.Time) {
	s.tenure, s.taken = held, cmp.Or(s.taken, now)
	switch {
	case s.tried:
		s.history = had
	case s.last != "":
		s.history = contended
	default:
		s.history = nobody
	}
}

// listed reports whether the claim is in this node's record.
func (s *stake) listed() bool {
	switch s.tenure {
	case pending, held, quiet, removing:
		return true
	}
	return false
}

// goes reports whether the claim is handed over, or about to be: nobody passes it to this node for its being listed, however well it
// would suit it.
func (s *stake) goes() bool { return !s.leaving.IsZero() || s.tenure == removing }

// size returns how much room s takes in a record.
func (s *stake) size() int {
	if s.whole != 0 {
		return len(s.parts) + 1
	}
	return len(s.parts)
}

// rank is an order of the nodes for one claim: those that hand it over come after the others, then the score decides.
type rank struct {
	gives bool
	score float64
	node  uint64 // decides where the rest is the same
}

func (r rank) better(o rank) bool {
	if r.gives != o.gives {
		return o.gives
	}
	if r.score != o.score {
		return r.score > o.score
	}
	return r.node > o.node
}

// rankOf returns where the node of this id stands for a claim, by its record.
func rankOf(node uint64, s *stake, r record) rank {
	return rank{r.Yields || r.Offered.hasAny(s.parts), score(node, s.place, cmp.Or(r.Weight, evenWeight)), node}
}

// survey is what this node sees of one claim.
type survey struct {
	better     int  // candidates that rank before this node
	candidates int  // others that could take it
	blocked    bool // somebody else lists it and may hold it
	kept       bool // and does not offer it
	contender  bool // a live one of those ranks before this node
	heir       bool // and would see at once that it was passed the claim
	veiled     bool // a live one may list it: its record can't be read
	partial    bool // a live one keeps parts, and does not know that they belong together
	// proof is set when one of those looks dead: a write of this node that is sent after it and delivered makes it certain.
	proof time.Time
}

// veil takes in that the record of the Lease of that name can't be read, and may list s.
func (v *survey) veil(name string, s *stake, suspect bool) {
	v.blocked, v.kept, v.veiled = true, true, v.veiled || !suspect
	if s.tenure != held {
		s.last = name
	}
}

// keptApart reports whether the node of this record keeps a part of s for itself. It ranks the nodes for that part otherwise than
// those who know of s do for s: each might wait for the other.
func (s *stake) keptApart(r record) bool {
	return s.whole != 0 && !r.Claims.has(s.whole) &&
		slices.ContainsFunc(s.parts, func(id uint64) bool { return r.Claims.has(id) && !r.Offered.has(id) })
}
