package agent

import (
	"context"
	"slices"
	"time"

	"daymark/internal/vip"
)

// idle is how long the holder sleeps when nothing is due.
const idle = time.Hour

// plan is what one round of the holder is to make true. Its lists are sorted, may share memory, and are never changed.
type plan struct {
	use      []Want           // what is used now
	want     []vip.Address    // of these, those on the links
	announce []vip.Address    // and those to announce
	detached map[vip.Key]bool // to announce without a link
	waiting  []waiting        // wanted, but not to be used yet
	again    time.Duration    // when to look again at the latest
}

type waiting struct {
	Want
	problem error // nil while the probe runs
}

// plan decides which of wants are used now. What is not on a link yet and may be somebody else's is probed for first, aside,
// so that the others do not wait for it.
func (h *Holder) plan(ctx context.Context, wants []Want, now time.Time) plan {
	p := plan{use: wants, want: make([]vip.Address, 0, len(wants)), again: idle}
	due := func(t time.Time) {
		if !t.IsZero() {
			p.again = min(p.again, max(0, t.Sub(now)))
		}
	}
	plain := true // all that is used is on the links and announced
	for i, w := range wants {
		due(w.Until)
		if w.Kept {
			due(now.Add(keptFor / 6))
		}
		if wait, retry, problem := h.mustWait(ctx, w, now); wait {
			due(retry)
			if len(p.waiting) == 0 {
				p.use = append(make([]Want, 0, len(wants)), wants[:i]...)
			}
			p.waiting = append(p.waiting, waiting{w, problem})
			continue
		}
		if len(p.waiting) > 0 {
			p.use = append(p.use, w)
		}
		plain = plain && !w.Detached && !w.Quiet
		if !w.Detached {
			p.want = append(p.want, w.Address)
		} else if p.detached == nil {
			p.detached = map[vip.Key]bool{w.Key(): true}
		} else {
			p.detached[w.Key()] = true
		}
	}
	if p.announce = p.want; !plain {
		p.announce = h.announceable(p.use)
	}
	h.forgetProbes(wants)
	return p
}

// announceable returns what of use is announced.
func (h *Holder) announceable(use []Want) []vip.Address {
	out := make([]vip.Address, 0, len(use))
	for _, w := range use {
		switch {
		case !w.Quiet:
			out = append(out, w.Address)
		case w.Passing && h.cfg.Overlap:
			a := w.Address
			a.Route.Leaving = true
			out = append(out, a)
		}
	}
	return out
}

// mustWait reports whether w can't be used yet: while it is probed for (problem nil), or because somebody else uses it.
func (h *Holder) mustWait(ctx context.Context, w Want, now time.Time) (wait bool, retry time.Time, problem error) {
	k := w.Key()
	pr := h.probes[k]
	switch {
	case h.cfg.Prober == nil, w.Sure, w.Detached:
		return false, time.Time{}, nil
	case pr != nil && pr.lost:
	case h.present[k], pr != nil && pr.free:
		return false, time.Time{}, nil
	case pr == nil:
		pr = &probe{}
		h.probes[k] = pr
	}
	here := pr.lost && h.present[k] // as long as it is, nobody else would answer alone
	if !here && h.mayProbe(pr, now) {
		h.startProbe(ctx, pr, w)
	}
	switch {
	case now.Before(pr.retry):
		return true, pr.retry, pr.problem
	case here:
		return true, now.Add(retryAfter), pr.problem
	default: // the end of a probe, its own or another that makes room for it, wakes the holder
		return true, time.Time{}, pr.problem
	}
}

// Phase is how far an address has come on this node.
type Phase string

// The phases of an address.
const (
	Held     Phase = "held"     // in the kernel and announced
	Quiet    Phase = "quiet"    // in the kernel, not announced
	Probing  Phase = "probing"  // the network is being asked whether it is free
	Conflict Phase = "conflict" // somebody else uses it
	Failed   Phase = "failed"   // kernel or announcer refused it; tried again
	Released Phase = "released" // not here any more
)

// State is what became of a wanted address.
type State struct {
	Address vip.Address
	Phase   Phase
	Problem string    // for people, when Phase is Conflict or Failed
	Since   time.Time // when Phase began
}

// States returns the state of every wanted address, sorted.
func (h *Holder) States() []State {
	h.mu.Lock()
	out := make([]State, 0, len(h.states))
	for _, s := range h.states {
		out = append(out, *s)
	}
	h.mu.Unlock()
	slices.SortFunc(out, func(a, b State) int { return vip.Compare(a.Address, b.Address) })
	return out
}

// publish records the phase of every wanted address and tells of those that changed.
func (h *Holder) publish(p plan, problems map[vip.Key]string, now time.Time) {
	var changed []State
	h.mu.Lock()
	note := func(a vip.Address, phase Phase, problem string) {
		s := h.states[a.Key()]
		if s == nil {
			s = new(State)
			h.states[a.Key()] = s
		}
		s.Address = a
		if s.Phase != phase || s.Problem != problem {
			s.Phase, s.Problem, s.Since = phase, problem, now
			changed = append(changed, *s)
		}
	}
	for _, w := range p.use {
		k := w.Key()
		switch {
		case problems[k] != "":
			note(w.Address, Failed, problems[k])
		case w.Quiet:
			note(w.Address, Quiet, "")
		default:
			note(w.Address, Held, "")
		}
	}
	for _, w := range p.waiting {
		if w.problem == nil {
			note(w.Address, Probing, "")
			continue
		}
		note(w.Address, Conflict, oneLine(w.problem))
	}
	if len(h.states) > len(p.use)+len(p.waiting) {
		for k := range h.notIn(p) {
			s := h.states[k]
			delete(h.states, k)
			s.Phase, s.Problem, s.Since = Released, "", now
			changed = append(changed, *s)
		}
	}
	h.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	slices.SortFunc(changed, func(a, b State) int { return vip.Compare(a.Address, b.Address) })
	for _, s := range changed {
		h.logState(s)
	}
	if h.cfg.Changed != nil {
		h.cfg.Changed(changed)
	}
}

// notIn returns the addresses that have a state and are no part of p.
func (h *Holder) notIn(p plan) map[vip.Key]struct{} {
	out := make(map[vip.Key]struct{}, len(h.states))
	for k := range h.states {
		out[k] = struct{}{}
	}
	for _, w := range p.use {
		delete(out, w.Key())
	}
	for _, w := range p.waiting {
		delete(out, w.Key())
	}
	return out
}

func (h *Holder) logState(s State) {
	log := h.cfg.Logger.With("addr", s.Address.Prefix, "link", s.Address.Link)
	switch s.Phase {
	case Conflict, Failed:
		log.Warn(string(s.Phase), "err", s.Problem)
	default:
		log.Debug(string(s.Phase)) // the datapath tells what it held and released
	}
}
