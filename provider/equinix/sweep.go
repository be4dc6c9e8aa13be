package equinix

import (
	"context"
	"iter"
	"slices"
	"time"
)

const (
	// sweepPeriod is how often the project's addresses are listed to find what others did, and what nobody needs.
	sweepPeriod = 5 * time.Minute
	// lookPeriod is how often while a Service waits for an address that the project doesn't own.
	lookPeriod = time.Minute
)

// Run implements provider.Source: it gives back what nobody needs, lets one call try when the gates' time is over, and sweeps.
func (e *EIPs) Run(ctx context.Context, wake func(owners ...string)) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.ready:
	}
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	swept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.kick:
		case <-alarm.C:
		}
		if next := swept.Add(e.period()); !time.Now().Before(next) {
			swept = time.Now()
			e.sweep(ctx)
		}
		e.clear(ctx)
		owners, next := e.due(swept.Add(e.period()))
		wake(owners...)
		alarm.Reset(max(time.Until(next), 0))
	}
}

// period is how long after a sweep the next one comes.
func (e *EIPs) period() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, looks := range e.waiting {
		if looks {
			return lookPeriod
		}
	}
	return sweepPeriod
}

// due returns whom to wake now, and when to look again: at the next sweep, or when a gate's time is over before it.
func (e *EIPs) due(next time.Time) ([]string, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, news := time.Now(), e.news
	e.news = false
	for g := range e.gatesLocked() {
		news = g.due(now) || news
		if g.shut && now.Before(g.until) && g.until.Before(next) {
			next = g.until
		}
	}
	if !news {
		return nil, next
	}
	return e.waitingLocked(), next
}

func (e *EIPs) gatesLocked() iter.Seq[*gate] {
	return func(yield func(*gate) bool) {
		if !yield(&e.api) {
			return
		}
		for _, g := range e.offers {
			if !yield(g) {
				return
			}
		}
	}
}

// sweep lists, and notes what was bought and no Service needs; only what two sweeps in a row say so of, since a Service may be about to be told of.
func (e *EIPs) sweep(ctx context.Context) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	err := e.through(nil, func() error { return e.list(ctx) })
	<-e.turn
	if err != nil {
		return // told already; the next sweep comes
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.news = true
	doubted := map[string]bool{}
	for _, r := range e.ledger.bought() {
		if !e.needlessLocked(r) {
			continue
		}
		if doubted[r.ID] = true; e.doubted[r.ID] {
			e.extra[r.ID] = true
		}
	}
	e.doubted = doubted
}

// needlessLocked reports whether a reservation's Service is gone, or has another one that was bought for it.
func (e *EIPs) needlessLocked(r Reservation) bool {
	tag := e.ledger.serviceTag(r)
	owner, lives := e.living[tag]
	switch {
	case tag == "":
		return false
	case !lives:
		return true
	case e.holders.has(owner, r.Prefix.Addr()):
		return false
	}
	all := e.ledger.of(tag)
	has := slices.ContainsFunc(all, func(o Reservation) bool { return e.holders.has(owner, o.Prefix.Addr()) })
	return has || all[0].ID != r.ID
}

// clear gives back what nobody needs and nobody has.
func (e *EIPs) clear(ctx context.Context) {
	e.mu.Lock()
	var ids []string
	for id := range e.extra {
		r, ok := e.ledger.owned[id]
		switch {
		case !ok:
			delete(e.extra, id)
		case len(e.holders.at[r.Prefix.Addr()]) == 0:
			ids = append(ids, id)
		}
	}
	e.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		if err := e.giveBack(ctx, id); err != nil {
			if ctx.Err() == nil {
				e.Log.Warn("an address that nobody needs stays for now", "err", err)
			}
			return
		}
	}
}
