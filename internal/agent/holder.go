package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"daymark/internal/vip"
)

// HolderConfig is what a [Holder] works with.
type HolderConfig struct {
	Datapath   Datapath
	Announcers []Announcer
	Prober     Prober   // nil: new addresses are used at once
	Strangers  Prober   // as Prober, but what other agents answer doesn't count; nil: Prober
	Listener   Listener // nil: successors are not heard
	// Overlap says that two nodes may announce an address at a time, as routes can: what is passed on stays announced, as leaving, until the
	// right ends, so that there is no moment without a path.
	Overlap bool
	// Passed is told when the successor of a passing address was heard. It is set when Listener is, and called from any
	// goroutine.
	Passed func(vip.Address)
	// Sources are the names that will be given to [Holder.Set]. What a former run left on the links stays there until each of
	// them has spoken once, and is swept then.
	Sources []string
	// Changed is told the phase of each address whenever it changes, in order, by the holder's goroutine; it returns soon.
	// May be nil.
	Changed func([]State)
	Metrics *Metrics // may be nil
	Logger  *slog.Logger
}

// Holder owns the set of addresses that this node has. Sources tell it what they want; one goroutine ([Holder.Run]) makes
// the union of it true, in the order that keeps an address in the kernel for as long as it is announced.
//
// Set, Await and States are safe for concurrent use.
type Holder struct {
	cfg  HolderConfig
	wake chan struct{}
	over chan struct{} // closed when Run returned

	mu      sync.Mutex // guards the fields below
	wants   map[string][]Want
	version uint64
	made    uint64 // the newest version that was made true
	waiters []waiter
	states  map[vip.Key]*State
	found   []probeResult
	others  map[vip.Key]error // addresses that were somebody else's before; see Contest
	kept    map[vip.Key]*keeping

	// The fields below belong to the goroutine in Run.
	have      []vip.Address    // what was wanted and is in the kernel
	present   map[vip.Key]bool // what is in the kernel, what a former run left included
	adopted   bool             // something of that is what a former run left
	announced []vip.Address    // what may be announced
	swept     bool
	probes    map[vip.Key]*probe
	asking    int // probes that run
	ears      map[vip.Key]ear
	running   sync.WaitGroup
}

type waiter struct {
	version uint64
	done    chan error
}

// retryAfter is how long the holder waits before it tries again what failed.
const retryAfter = time.Second

// NewHolder returns a holder that holds nothing yet.
func NewHolder(cfg HolderConfig) *Holder {
	return &Holder{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		wants:   make(map[string][]Want),
		states:  make(map[vip.Key]*State),
		present: make(map[vip.Key]bool),
		probes:  make(map[vip.Key]*probe),
		ears:    make(map[vip.Key]ear),
		kept:    make(map[vip.Key]*keeping),
		others:  make(map[vip.Key]error),
	}
}

// Set replaces what source wants and returns at once, with a number to [Holder.Await] it by.
func (h *Holder) Set(source string, want []Want) uint64 {
	want = slices.Clone(want)
	slices.SortFunc(want, compareWants)
	h.mu.Lock()
	old, spoken := h.wants[source]
	news := !spoken || !slices.EqualFunc(old, want, Want.equal)
	if news {
		h.wants[source] = want
		h.version++
	}
	version := h.version
	h.mu.Unlock()
	if news {
		h.poke()
	}
	return version
}

// Await waits until the wants of that Set, or newer ones, are true as far as others are concerned: nil means that everything
// that no source wants any more is withdrawn and removed. Addresses that could not be added are not an error here: the
// holder goes on trying and shows them in [Holder.States].
func (h *Holder) Await(ctx context.Context, version uint64) error {
	done := make(chan error, 1)
	h.mu.Lock()
	if h.made >= version {
		h.mu.Unlock()
		return nil
	}
	h.waiters = append(h.waiters, waiter{version, done})
	h.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-h.over:
		return errOver
	}
}

// errOver is what waiting for a holder that has ended comes to.
const errOver = sentinel("the holder has ended")

// Contest says that an address which was probed for and taken turned out to be somebody else's, as problem tells: it is let
// go of, and asked for again later. It returns at once.
func (h *Holder) Contest(key vip.Key, problem error) {
	h.mu.Lock()
	h.others[key] = problem
	h.mu.Unlock()
	h.poke()
}

func (h *Holder) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run holds until ctx ends; it is called once. What is held then stays on the links: who wants it gone sets empty wants before.
func (h *Holder) Run(ctx context.Context) error {
	defer close(h.over)
	defer h.running.Wait()
	defer h.deafen()
	for _, a := range h.cfg.Datapath.Adopted() {
		h.cfg.Logger.Info("found", "addr", a.Prefix, "link", a.Link)
	}
	h.believe(nil) // what was ours a moment ago is used again without asking anybody, and nothing flaps
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		case <-timer.C:
		}
		timer.Reset(h.round(ctx))
	}
}

// round makes the newest wants true and returns when to look again at the latest.
func (h *Holder) round(ctx context.Context) time.Duration {
	now := time.Now()
	if h.adopted {
		h.believe(h.have) // what a former run left may have ended, or was swept
	}
	h.mu.Lock()
	version := h.version
	wants, complete := h.mergeLocked(now)
	found, others := h.found, h.others
	h.found, h.others = nil, make(map[vip.Key]error)
	h.mu.Unlock()

	h.noteProbes(found, now)
	h.noteOthers(others, now)
	p := h.plan(ctx, wants, now)
	problems, removal := h.carryOut(ctx, p)
	h.cfg.Metrics.applied(now)
	h.finish(version, removal)
	h.publish(p, problems, now)

	if complete && !h.swept {
		err := h.cfg.Datapath.Sweep(ctx)
		if h.swept = err == nil; !h.swept {
			h.cfg.Logger.Warn("removing what a former run left failed", "err", oneLine(err))
			removal = errors.Join(removal, err)
		}
	}
	again := p.again - time.Since(now) // a right ends when it ends, however long this took
	if len(problems) > 0 || removal != nil {
		again = min(again, retryAfter)
	}
	return again
}

// mergeLocked returns the union of all wants whose rights have not run out, sorted, and whether every source has spoken. What is passed on
// and not on the link is the successor's: it is not taken any more.
func (h *Holder) mergeLocked(now time.Time) ([]Want, bool) {
	var merged []Want
	for _, source := range slices.Sorted(maps.Keys(h.wants)) {
		merged = joinWants(merged, h.fence(h.wants[source], now))
	}
	h.forgetKept()
	merged = slices.DeleteFunc(merged, func(w Want) bool {
		return !w.Live(now) || w.Passing && !w.Detached && !h.present[w.Key()]
	})
	for _, source := range h.cfg.Sources {
		if _, ok := h.wants[source]; !ok {
			return merged, false
		}
	}
	return merged, true
}

// carryOut is the heart: gain an address before announcing it, lose it only after it is withdrawn. It returns the reason for
// each wanted address that is not as it should be, and the error that kept something from being withdrawn or removed.
func (h *Holder) carryOut(ctx context.Context, p plan) (problems map[vip.Key]string, removal error) {
	problems = make(map[vip.Key]string)
	both, more, less := joinAddresses(h.have, p.want)
	announce, have := p.announce, both
	if err := h.cfg.Datapath.Set(ctx, both); err != nil {
		h.cfg.Logger.Warn("adding addresses failed", "err", oneLine(err))
		h.believe(h.cfg.Datapath.Held())
		h.blame(problems, p.want, err)
		announce = without(announce, func(a vip.Address) bool { return !h.present[a.Key()] && !p.detached[a.Key()] })
		have = without(both, func(a vip.Address) bool { return !h.present[a.Key()] })
	} else if more {
		h.believe(both)
	}

	h.listen(p)
	if err := h.announce(ctx, announce); err != nil {
		h.cfg.Logger.Warn("announcing failed", "err", oneLine(err))
		if left := vip.Diff(h.announced, announce).Remove; len(left) > 0 {
			removal = fmt.Errorf("withdrawing %d addresses: %w", len(left), err)
		}
		h.announced = vip.Union(h.announced, announce) // of either any part
		for _, a := range announce {
			problems[a.Key()] = oneLine(err)
		}
	} else {
		h.announced = announce
	}

	if slices.EqualFunc(both, p.want, vip.Address.Equal) {
		h.have = have
		return problems, removal
	}
	// Also when withdrawing failed: an address without a right must go.
	if err := h.cfg.Datapath.Set(ctx, p.want); err != nil {
		held := h.cfg.Datapath.Held()
		h.believe(held)
		ours := vip.Diff(h.cfg.Datapath.Adopted(), held).Add
		if left := vip.Diff(ours, p.want).Remove; len(left) > 0 {
			removal = errors.Join(removal, fmt.Errorf("removing %d addresses: %w", len(left), err))
			h.cfg.Logger.Error("removing addresses failed", "err", oneLine(err))
		}
		h.blame(problems, p.want, err)
		h.have = vip.Union(ours)
		return problems, removal
	}
	if less {
		h.believe(p.want)
	}
	h.have = p.want
	return problems, removal
}

// announce tells every announcer, also past an error.
func (h *Holder) announce(ctx context.Context, set []vip.Address) error {
	var errs []error
	for _, announcer := range h.cfg.Announcers {
		errs = append(errs, announcer.Set(ctx, set))
	}
	return errors.Join(errs...)
}

// believe notes what is in the kernel: held, and what a former run left.
func (h *Holder) believe(held []vip.Address) {
	adopted := h.cfg.Datapath.Adopted()
	h.adopted = len(adopted) > 0
	clear(h.present)
	for _, list := range [2][]vip.Address{held, adopted} {
		for _, a := range list {
			h.present[a.Key()] = true
		}
	}
}

// blame notes err as the problem of each address of want that is not in the kernel.
func (h *Holder) blame(problems map[vip.Key]string, want []vip.Address, err error) {
	for _, a := range want {
		if !h.present[a.Key()] {
			problems[a.Key()] = clip(oneLine(vip.ErrorFor(err, a.Key())), 500)
		}
	}
}

// finish answers those who wait for what this round made true.
func (h *Holder) finish(version uint64, removal error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if removal == nil {
		h.made = version
	}
	h.waiters = slices.DeleteFunc(h.waiters, func(w waiter) bool {
		if w.version > version {
			return false
		}
		w.done <- removal
		return true
	})
}
