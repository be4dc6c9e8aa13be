package agent

import (
	"context"
	"slices"
	"time"

	"daymark/internal/vip"
)

// keptFor is how long the kernel keeps an address without a right after the LAN was last asked for it in vain, or the right was
// lost. Whatever keeps the agent from asking, be it frozen, killed or deaf, it loses the address.
const keptFor = 6 * time.Second

// keeping is what is known of one address that is kept without a right.
type keeping struct {
	asked time.Time // when it was last asked for in vain; at first, when the right was lost
	until time.Time // until when the kernel has it, at least
	over  bool      // it is let go of, and not taken again before there is a right to it
}

// fence returns list with the ends of what is kept, and without what is not on the link, was heard elsewhere, or has ended
// meanwhile: what is kept is never taken anew.
func (h *Holder) fence(list []Want, now time.Time) []Want {
	if !slices.ContainsFunc(list, func(w Want) bool { return w.Kept }) {
		return list
	}
	out := make([]Want, 0, len(list))
	for _, w := range list {
		if w.Kept {
			k := h.kept[w.Key()]
			if k == nil {
				k = &keeping{asked: now, until: h.lasts(w, now)}
				h.kept[w.Key()] = k
			}
			if !h.hears() {
				k.asked = now // as by BGP, where two paths harm nobody
			}
			if k.over = k.over || !now.Before(k.until) || !h.present[w.Key()]; k.over {
				continue
			}
			k.until = k.asked.Add(keptFor)
			w.Until = k.until
		}
		out = append(out, w)
	}
	return out
}

// lasts returns until when the kernel has w, to which the right was lost: to the end of that right. Its source may have lost it long
// before now, where this process was stopped, and others may have the address since.
func (h *Holder) lasts(w Want, now time.Time) time.Time {
	if i, ok := slices.BinarySearchFunc(h.have, w.Address, vip.Compare); ok && !h.have[i].Until.IsZero() {
		return h.have[i].Until
	}
	return now.Add(keptFor)
}

// hears reports whether successors can be heard and asked for.
func (h *Holder) hears() bool { return h.cfg.Listener != nil && h.cfg.Prober != nil }

// askedInVain takes in that nobody else had a kept address when it was asked for at sent.
func (h *Holder) askedInVain(key vip.Key, sent time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.kept[key]; k != nil {
		k.asked = sent
	}
	h.poke()
}

// letGo takes in that another host has an address, or that nobody knows: if it is kept, it is no more.
func (h *Holder) letGo(key vip.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.kept[key]; k != nil {
		k.over = true
	}
	h.poke()
}

// forgetKept forgets the ends of what no source keeps any more.
func (h *Holder) forgetKept() {
	if len(h.kept) == 0 {
		return
	}
	still := make(map[vip.Key]bool)
	for _, list := range h.wants {
		for _, w := range list {
			if w.Kept {
				still[w.Key()] = true
			}
		}
	}
	for k := range h.kept {
		if !still[k] {
			delete(h.kept, k)
		}
	}
}

// unkeepLocked lets go of the claim of a, of all its addresses, if it is kept without a right.
func (s *Services) unkeepLocked(a vip.Address) {
	g := s.groups.having(a.Prefix.Addr())
	if g == nil || !s.kept[g.Claim.Name] {
		return
	}
	delete(s.kept, g.Claim.Name)
	s.cfg.Logger.Info("preserved no longer", "lease", g.Claim.Name, "reason", "another host uses it")
	s.cfg.Holder.Set(SourceServices, s.wants())
}

// release removes what is kept without a right, of which the elector knows nothing. It has two seconds.
func (s *Services) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s.mu.Lock()
	if len(s.kept) == 0 {
		s.mu.Unlock()
		return nil
	}
	clear(s.kept)
	version := s.cfg.Holder.Set(SourceServices, s.wants())
	s.mu.Unlock()
	return s.cfg.Holder.Await(ctx, version)
}
