package agent

import "daymark/internal/vip"

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
		k := w.Key()
		awaited[k] = w.Passing || w.Kept
		if _, ok := h.ears[k]; ok || !awaited[k] || !h.present[k] {
			continue
		}
		heard, stop, err := h.cfg.Listener.Listen(k)
		if err != nil {
			h.cfg.Logger.Debug("not listening for the successor", "addr", w.Prefix, "link", w.Link, "err", err)
			continue
		}
		done := make(chan struct{})
		h.ears[k] = ear{stop: func() { close(done); stop() }}
		h.running.Go(func() {
			for {
				select {
				case said := <-heard:
					if said == Announced || w.Kept {
						h.cfg.Passed(w.Address)
						return
					}
				case <-done:
					return
				}
			}
		})
	}
	for k, e := range h.ears {
		if !awaited[k] {
			e.stop()
			delete(h.ears, k)
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
