package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// keptFor is the lifetime in the kernel of an address that is kept without a right, extended while the agent lives: a frozen
// or killed agent, which no longer hears a successor, loses it.
const keptFor = 6 * time.Second

// keepable reports whether what was held by r until now may be kept without it: not what was passed on, nor what the kernel
// has ended already, since others may have it.
func keepable(r election.Right) bool {
	return !r.Passing && (r.Until.IsZero() || time.Now().Before(r.Until))
}

// fence returns list with the ends of what is kept moved on, and without what is not on the link or has ended meanwhile: what
// is kept is never taken anew.
func (h *Holder) fence(list []Want, now time.Time) []Want {
	if !slices.ContainsFunc(list, func(w Want) bool { return w.Kept }) {
		return list
	}
	out := make([]Want, 0, len(list))
	for _, w := range list {
		if w.Kept {
			if end, ok := h.kept[w.Key()]; ok && !now.Before(end) || !h.present[w.Key()] {
				continue
			}
			w.Until = now.Add(keptFor)
			h.kept[w.Key()] = w.Until
		}
		out = append(out, w)
	}
	return out
}

// forgetKept forgets the ends of what no source keeps any more.
func (h *Holder) forgetKept() {
	if len(h.kept) == 0 {
		return
	}
	still := make(map[vip.Key]bool)
	for _, list := range h.wants {
		for _, w := range list {
			still[w.Key()] = still[w.Key()] || w.Kept
		}
	}
	for k := range h.kept {
		if !still[k] {
			delete(h.kept, k)
		}
	}
}

// unkeepLocked lets go of the claim of a if it is kept without a right, and reports whether it was.
func (s *Services) unkeepLocked(a vip.Address) bool {
	for name := range s.groups.tied[tie{addr: a.Prefix.Addr()}] {
		g := s.groups.of[name]
		side := s.sideOf(g)
		if !side.kept[g.Claim.Name] {
			return false
		}
		delete(side.kept, g.Claim.Name)
		s.cfg.Logger.Info("preserved no longer", "lease", g.Claim.Name, "reason", "another host uses it")
		s.cfg.Holder.Set(side.source, side.wants())
		return true
	}
	return false
}

// SetCarrier says whether the link can carry traffic. Without it nothing is preserved: a successor would not be heard.
func (s *Services) SetCarrier(there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = !there
	for _, side := range s.sides {
		if s.cut && len(side.kept) > 0 {
			clear(side.kept)
			s.cfg.Logger.Info("preserved no longer", "reason", "the link is down")
			s.cfg.Holder.Set(side.source, side.wants())
		}
	}
}

// release removes what is kept without a right, of which the electors know nothing. It has two seconds.
func (s *Services) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	var errs []error
	for _, side := range s.sides {
		s.mu.Lock()
		kept := len(side.kept) > 0
		clear(side.kept)
		version := uint64(0)
		if kept {
			version = s.cfg.Holder.Set(side.source, side.wants())
		}
		s.mu.Unlock()
		if kept {
			errs = append(errs, s.cfg.Holder.Await(ctx, version))
		}
	}
	return errors.Join(errs...)
}
