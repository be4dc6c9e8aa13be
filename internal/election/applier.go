package election

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// applier calls Apply from a goroutine of its own, always with the newest set, so that nothing an announcer does delays a
// renewal.
type applier struct {
	apply Apply
	log   *slog.Logger
	// woken says to run that the set changed, applied to the elector's loop that a set was made true.
	woken   chan struct{}
	applied chan struct{}

	mu     sync.Mutex
	rights []Right
	asked  uint64 // generation of rights; 0 is before the first set
	done   uint64 // the newest generation that was applied
}

func newApplier(apply Apply, log *slog.Logger) *applier {
	return &applier{apply: apply, log: log, woken: make(chan struct{}, 1), applied: make(chan struct{}, 1)}
}

// set asks for rights, which must be sorted by claim, and returns their generation. Asking again for what was asked last is
// no new generation.
func (a *applier) set(rights []Right) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked > 0 && slices.Equal(a.rights, rights) {
		return a.asked
	}
	a.rights = rights
	a.asked++
	signal(a.woken)
	return a.asked
}

// has reports whether generation, or a newer one, has been made true.
func (a *applier) has(generation uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done >= generation
}

// run applies until ctx ends. Apply's own context is ctx.
func (a *applier) run(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	delay := shortest
	for {
		a.mu.Lock()
		rights, asked, done := slices.Clone(a.rights), a.asked, a.done
		a.mu.Unlock()
		if asked == done {
			select {
			case <-a.woken:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := a.apply(ctx, rights)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			delay = shortest
			a.mu.Lock()
			a.done = asked
			a.mu.Unlock()
			signal(a.applied)
			continue
		}
		a.log.Error("rights not applied", "err", err, "retry", delay)
		if !wait(ctx, delay, a.woken) {
			return
		}
		delay = min(2*delay, longest)
	}
}

// signal wakes whoever waits on c, which has room for one, now or when it next waits.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait returns after d or when woken receives, or false when ctx ends first. A nil woken never receives.
func wait(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-woken:
		return true
	case <-ctx.Done():
		return false
	}
}
