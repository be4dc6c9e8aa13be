package agent

import (
	"context"
	"time"

	"daymark/internal/vip"
)

// ear listens for the successor of one address that was passed on, or is kept without a right.
type ear struct {
	kept bool // rather than passed on
	stop func()
}

// listen starts to listen for every address of p that is passed on or kept, before it is announced no more, so that nothing
// the successor says is missed; and stops where that is over. To what is kept a successor that only asks has more right too.
func (h *Holder) listen(p plan) {
	if h.cfg.Listener == nil {
		return
	}
	awaited := make(map[vip.Key]bool)
	for _, w := range p.use {
		if !w.Passing && !w.Kept {
			continue
		}
		k := w.Key()
		awaited[k] = true
		e, ok := h.ears[k]
		if ok && e.kept != w.Kept { // listens for something else
			e.stop()
			delete(h.ears, k)
			ok = false
		}
		if ok {
			continue
		}
		heard, stop, err := h.cfg.Listener.Listen(k)
		if err != nil {
			h.cfg.Logger.Debug("not listening for the successor", "addr", w.Prefix, "link", w.Link, "err", err)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		h.ears[k] = ear{kept: w.Kept, stop: func() { cancel(); stop() }}
		h.running.Go(func() {
			if w.await(ctx, heard) && (w.Kept || linger(ctx)) {
				h.heard(w)
			}
		})
		if w.Kept && h.hears() {
			h.running.Go(func() {
				if h.ask(ctx, k) {
					h.heard(w)
				}
			})
		}
	}
	for k, e := range h.ears {
		if !awaited[k] {
			e.stop()
			delete(h.ears, k)
		}
	}
}

// await waits until the successor is heard, or ctx ends and it returns false.
func (w Want) await(ctx context.Context, heard <-chan Said) bool {
	for {
		select {
		case said := <-heard:
			if said == Announced || w.Kept {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// inFlight is how much longer than until it hears its successor a holder answers for what it passed on: for questions that clients
// sent before they heard the successor, and for those whose answer is not out yet, since nothing can be sent from an address that is
// gone: a server on a busy node takes its time. It is over before the successor's third announcement, 300 ms after the first, which
// corrects whoever asked the LAN meanwhile, was answered by both and believed the wrong one; till then that one answers.
const inFlight = 250 * time.Millisecond

// linger waits for inFlight, or until ctx ends and it returns false.
func linger(ctx context.Context) bool {
	timer := time.NewTimer(inFlight)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// askEvery is how often the LAN is asked for what is kept.
const askEvery = time.Second

// ask asks the LAN for a kept address until somebody has it, or it can't be asked, or ctx ends and it returns false: who has it may
// have announced it unheard.
func (h *Holder) ask(ctx context.Context, key vip.Key) bool {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			sent := time.Now()
			if err := h.cfg.Prober.Probe(ctx, key); ctx.Err() != nil {
				return false
			} else if err != nil {
				return true
			}
			h.askedInVain(key, sent)
		case <-ctx.Done():
			return false
		}
	}
}

// heard takes in that the successor of w was heard. What is kept is let go of whatever its source makes of that: it may know of
// a right that is over again before the holder saw it.
func (h *Holder) heard(w Want) {
	h.letGo(w.Key())
	h.cfg.Passed(w.Address)
}

// deafen stops all listening.
func (h *Holder) deafen() {
	for _, e := range h.ears {
		e.stop()
	}
}
