package agent

import (
	"context"
	"time"

	"daymark/internal/vip"
)

// ear listens for the successor of one address that was passed on, or is kept without a right.
type ear struct{ stop func() }

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
		if _, ok := h.ears[k]; ok || !h.present[k] {
			continue
		}
		heard, stop, err := h.cfg.Listener.Listen(k)
		if err != nil {
			h.cfg.Logger.Debug("not listening for the successor", "addr", w.Prefix, "link", w.Link, "err", err)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		h.ears[k] = ear{stop: func() { cancel(); stop() }}
		h.running.Go(func() {
			if w.await(ctx, heard) {
				h.cfg.Passed(w.Address)
			}
		})
		if w.Kept && h.cfg.Prober != nil {
			h.running.Go(func() {
				if w.ask(ctx, h.cfg.Prober) {
					h.cfg.Passed(w.Address)
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

// askEvery is how often the LAN is asked for what is kept.
const askEvery = time.Second

// ask asks the LAN for what is kept until somebody has it, or ctx ends and it returns false: who has it may have announced it
// unheard.
func (w Want) ask(ctx context.Context, lan Prober) bool {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := lan.Probe(ctx, w.Key()); err != nil && ctx.Err() == nil {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// deafen stops all listening.
func (h *Holder) deafen() {
	for k, e := range h.ears {
		e.stop()
		delete(h.ears, k)
	}
}
