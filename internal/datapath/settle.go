package datapath

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/vip"
)

// settleLocked changes the kernel to what is wanted. A repair is told from a Set by due, which says whether an address may be
// written again now.
func (k *Kernel) settleLocked(due func(vip.Key) bool) error {
	failed := map[vip.Key]error{}
	var refused map[vip.Key]error
	// A second round is needed where there was news meanwhile, or a removal took others with it: see planKeepers.
	for range 3 {
		var ops []op
		k.dirty = false
		ops, refused = k.state.plan(time.Now())
		ops = deleteFailed(ops, failed)
		if due != nil {
			ops = deleteIf(ops, func(o op) bool {
				return !o.keeper && !k.state.written[slot{o.index, o.key.Addr}].late() && !due(o.key)
			})
		}
		if len(ops) == 0 {
			break
		}
		if err := k.changeLocked(ops, failed, due != nil); err != nil {
			return err
		}
		if !k.dirty && len(failed) == 0 && !slices.ContainsFunc(ops, func(o op) bool { return o.remove }) {
			break
		}
	}
	if due != nil {
		refused = nil // told by the Set that asked for it
	}
	return joinByKey(refused, failed)
}

// changeLocked carries out ops and takes in what came of them; failures of single ones go to failed.
func (k *Kernel) changeLocked(ops []op, failed map[vip.Key]error, repair bool) error {
	results, err := k.requests.change(ops)
	if err != nil { // what came of them isn't known
		k.lost, k.dirty = true, true
		return errors.Join(err, k.drainLocked())
	}
	done := time.Now()
	var made []slot // anew
	for i, o := range ops {
		at := slot{o.index, o.key.Addr}
		was := len(k.state.addrs[at]) > 0
		switch result := results[i]; {
		case o.remove && errors.Is(result, unix.EADDRNOTAVAIL): // gone with its primary, or at the end of its lifetime
		case result != nil && o.keeper: // it was for the moment
			k.metrics.errors.Inc()
			continue
		case result != nil:
			failed[o.key] = fmt.Errorf("%s: %w", o, result)
			k.metrics.errors.Inc()
			continue
		case o.stays:
		case o.remove:
			k.log.Info("released", "addr", o.prefix, "link", o.key.Link)
		default:
			k.noteWrite(o, at, done, was, repair)
			if !was && k.state.links[o.index].Carrier {
				made = append(made, at)
			}
		}
		k.metrics.changes(o).Inc()
	}
	if late := awaitUsable(made); late.IsValid() {
		k.log.Warn("not answered for yet, going on", "addr", late, "after", usableAfter)
	}
	return k.drainLocked()
}

// noteWrite takes note of a write that was made by done, and of one that was made too late to be planned again.
func (k *Kernel) noteWrite(o op, at slot, done time.Time, was, repair bool) {
	w := write{until: o.until}
	if o.valid != forever {
		w.ends = done.Add(time.Duration(o.valid) * time.Second)
	}
	k.state.written[at] = w
	k.dirty = k.dirty || w.late()
	adopted := was && !k.state.ours(k.state.addrs[at][0])
	// The kernel tells of a new IPv6 address a moment later, when its work queue has made it usable.
	o.seen = done
	k.state.apply(event{entry: &o.entry})
	switch {
	case !was && repair:
		k.metrics.restored.Inc()
		k.log.Warn("put back an address that was taken away", "addr", o.prefix, "link", o.key.Link)
	case !was:
		k.log.Info("held", "addr", o.prefix, "link", o.key.Link)
	case adopted:
		k.log.Info("adopted an unmarked address", "addr", o.prefix, "link", o.key.Link)
	}
}

// drainLocked takes in what the kernel has told meanwhile.
func (k *Kernel) drainLocked() error {
	changed := false
	err := k.notes.drain(func(ev event) {
		matters, link := k.state.apply(ev)
		k.dirty, changed = k.dirty || matters, changed || link
	})
	if err != nil && k.requests != nil { // not closed
		if !errors.Is(err, errOverrun) {
			k.log.Warn("notifications can't be read, reading all anew", "err", err)
		}
		k.metrics.overruns.Inc()
		k.lost, err = true, nil
	}
	if err == nil && k.lost {
		if err = k.loadLocked(false); err == nil {
			k.lost, k.dirty, changed = false, true, true
		}
	}
	if changed {
		k.wakeLocked()
	}
	return err
}

func (k *Kernel) loadLocked(first bool) error {
	dump, err := k.requests.dump()
	if err != nil {
		return err
	}
	k.state.load(dump, first)
	return nil
}
