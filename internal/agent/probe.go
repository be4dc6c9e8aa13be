package agent

import (
	"context"
	"time"

	"daymark/internal/vip"
)

// probesAtOnce bounds how many addresses are probed for at the same time.
const probesAtOnce = 256

// probe is what is known about the use of one wanted address by others. The holder's goroutine owns it.
type probe struct {
	cancel  context.CancelFunc
	running bool
	free    bool  // nobody answered
	problem error // somebody did
	tries   int
	retry   time.Time // when to ask again
}

type probeResult struct {
	probe *probe
	err   error
}

// startProbe asks the network for a, aside; the answer wakes the holder.
func (h *Holder) startProbe(ctx context.Context, p *probe, a vip.Address) {
	ctx, cancel := context.WithCancel(ctx)
	p.cancel, p.running = cancel, true
	h.running.Go(func() {
		select {
		case h.limit <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := h.cfg.Prober.Probe(ctx, a.Key())
		<-h.limit
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.found = append(h.found, probeResult{p, err})
		h.mu.Unlock()
		h.poke()
	})
}

// noteProbes takes in the answers that came since the last round. After a conflict the next question comes soon, since a
// former holder may just be letting go, and then ever later.
func (h *Holder) noteProbes(results []probeResult, now time.Time) {
	for _, r := range results {
		r.probe.cancel()
		r.probe.running = false
		r.probe.free, r.probe.problem = r.err == nil, r.err
		r.probe.retry = now.Add(min(100*time.Millisecond<<min(r.probe.tries, 10), 10*time.Second))
		r.probe.tries++
	}
}

// forgetProbes drops what is known about addresses that nobody wants any more.
func (h *Holder) forgetProbes(wants []Want) {
	if len(h.probes) == 0 {
		return
	}
	wanted := make(map[vip.Key]bool, len(wants))
	for _, w := range wants {
		wanted[w.Key()] = true
	}
	for k, p := range h.probes {
		if !wanted[k] || h.present[k] {
			p.cancel()
			delete(h.probes, k)
		}
	}
}
