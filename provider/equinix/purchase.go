package equinix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"daymark/ipam"
)

// list reads what the project owns. It settles the purchases that had ended before it began.
func (e *EIPs) list(ctx context.Context) error {
	begun := time.Now()
	all, err := e.API.Reservations(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ledger.replace(all, begun)
	for tag, since := range e.unsure {
		if since.Before(begun) {
			delete(e.unsure, tag)
		}
	}
	return nil
}

// settle finds out how a purchase ended of which that isn't known. Many who wait are served by one listing.
func (e *EIPs) settle(ctx context.Context, tag string) error {
	if !e.isUnsure(tag) {
		return nil
	}
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.turn }()
	if !e.isUnsure(tag) {
		return nil // another one's listing told
	}
	return e.through(nil, func() error { return e.list(ctx) })
}

func (e *EIPs) isUnsure(tag string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, unsure := e.unsure[tag]
	return unsure
}

// find returns what was bought for the owner: of several the one that it has, else the first that nobody else has.
func (e *EIPs) find(owner string) (Reservation, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.ledger.of(serviceTag(owner))
	if len(all) == 0 {
		return Reservation{}, false, nil
	}
	if i := slices.IndexFunc(all, func(r Reservation) bool { return e.holders.has(owner, r.Prefix.Addr()) }); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	for _, r := range all {
		if e.holders.other(owner, r.Prefix.Addr()) == "" {
			delete(e.extra, r.ID)
			return r, true, nil
		}
	}
	addr := all[0].Prefix.Addr()
	return Reservation{}, false, ipam.Refusals{{Reason: ipam.Taken, Addr: addr, Family: ipam.IPv4, By: e.holders.other(owner, addr)}}
}

// buy buys an address for the owner.
func (e *EIPs) buy(ctx context.Context, owner string, what offer) (Reservation, error) {
	tag := serviceTag(owner)
	var bought Reservation
	if !e.May() {
		return bought, errNotLeading
	}
	err := e.through(&what, func() (err error) {
		e.mu.Lock()
		e.unsure[tag] = time.Now().Add(time.Hour) // no listing tells before the call has ended
		e.mu.Unlock()
		bought, err = e.API.Reserve(ctx, ReserveRequest{
			Kind: what.Kind, Metro: what.Metro, Facility: what.Facility, Tags: Tags(owner, e.Cluster), Details: "address of a Kubernetes Service",
		})
		e.mu.Lock()
		defer e.mu.Unlock()
		e.unsure[tag] = time.Now()
		if certain := err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrUnauthorized); certain {
			delete(e.unsure, tag)
		}
		if err == nil {
			e.ledger.add(entry{bought, time.Now()})
		}
		return err
	})
	if err == nil {
		e.Log.Info("bought an address", "service", owner, "addr", bought.Prefix.Addr(), "reservation", bought.ID, "type", bought.Kind)
	}
	return bought, err
}

// through makes a call when the gates are open: the API's, and that of what is bought, if anything is. Who may not call, or fails as all would, is
// refused with the reason and what helps; other errors are the call's own.
func (e *EIPs) through(what *offer, call func() error) error {
	e.mu.Lock()
	g := e.gateLocked(what)
	may, triesAPI := e.api.enter(time.Now())
	if !may {
		defer e.mu.Unlock()
		return unavailable(e.api.why)
	}
	may, tries := g.enter(time.Now())
	if !may {
		defer e.mu.Unlock()
		e.api.leave(triesAPI)
		return unavailable(g.why)
	}
	e.mu.Unlock()

	err := call()

	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.kickLocked() // for whom to wake, and when
	now, why := time.Now(), explained(what, err)
	switch {
	case err == nil:
		e.news = e.api.open() || e.news
		e.news = g.open() || e.news
		return nil
	case errors.Is(err, context.Canceled):
		e.api.leave(triesAPI)
		g.leave(tries)
		return err
	case errors.Is(err, ErrUnauthorized):
		e.api.close(now, refusedPause, why, triesAPI)
		g.leave(tries)
	case errors.Is(err, ErrRefused), errors.Is(err, ErrExists), errors.Is(err, ErrNotFound):
		e.news = e.api.open() || e.news
		if what == nil {
			return err
		}
		g.close(now, refusedPause, why, tries)
	default:
		e.api.away(now, why, triesAPI)
		g.leave(tries)
	}
	e.Log.Warn("a call to the API failed; others wait for the next try", "err", err)
	return fmt.Errorf("%w: %w", unavailable(why), err)
}

// maxOffers is how many open gates are kept; a shut one is kept as long as it is shut.
const maxOffers = 16

// gateLocked returns the gate of an offer; for none, one that is always open.
func (e *EIPs) gateLocked(what *offer) *gate {
	if what == nil {
		return &gate{}
	}
	for o, g := range e.offers { // tenants may name places without end
		if !g.shut && o != *what && len(e.offers) > maxOffers {
			delete(e.offers, o)
		}
	}
	if e.offers[*what] == nil {
		e.offers[*what] = &gate{}
	}
	return e.offers[*what]
}

// giveBack releases a reservation, unless somebody else does already. Every step may be repeated.
func (e *EIPs) giveBack(ctx context.Context, id string) error {
	if !e.May() {
		return errNotLeading
	}
	e.mu.Lock()
	r, mine := e.ledger.leave(id)
	e.mu.Unlock()
	if !mine {
		return nil
	}
	asked := false
	err := e.through(nil, func() error {
		asked = true
		for _, a := range r.Assignments {
			if err := e.API.Unassign(ctx, a.ID); err != nil {
				return err
			}
		}
		return e.API.Release(ctx, r.ID)
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ledger.left(r, err == nil, time.Now()); err != nil {
		if asked { // and perhaps done
			e.unsure[serviceTagOf(r)] = time.Now()
		}
		return fmt.Errorf("giving back %s: %w", r.Prefix.Addr(), err)
	}
	delete(e.extra, id)
	for _, g := range e.offers { // there is room by now
		g.retry(time.Now())
	}
	e.kickLocked()
	e.Log.Info("gave an address back", "addr", r.Prefix.Addr(), "reservation", r.ID)
	return nil
}
