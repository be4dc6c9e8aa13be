package agent

import (
	"context"
	"time"

	"daymark/internal/vip"
)

// probesAtOnce bounds how many addresses are probed for at the same time; the others wait for their turn, without a goroutine.
const probesAtOnce = 256

// probe is what is known about the use of one wanted address by others. The holder's goroutine owns it.
type probe struct {
	cancel  context.CancelFunc
	running bool
	free    bool  // nobody answered
	problem error // somebody did
	lost    bool  // and only after the address was taken
	tries   int
	retry   time.Time // when to ask again
}

type probeResult struct {
	probe *probe
	err   error
}

// mayProbe reports whether p is due and there is room for one more.
func (h *Holder) mayProbe(p *probe, now time.Time) bool {
	return !p.running && !now.Before(p.retry) && h.asking < probesAtOnce
}

// startProbe asks the network for w, aside; the answer wakes the holder.
func (h *Holder) startProbe(ctx context.Context, p *probe, w Want) {
	ctx, cancel := context.WithCancel(ctx)
	p.cancel, p.running = cancel, true
	h.asking++
	prober := h.cfg.Prober
	if w.Contended && h.cfg.Strangers != nil {
		prober = h.cfg.Strangers
	}
	h.running.Go(func() {
		err := prober.Probe(ctx, w.Key())
		h.mu.Lock()
		h.found = append(h.found, probeResult{p, err})
		h.mu.Unlock()
		h.poke()
	})
}

// noteProbes takes in the answers that came since the last round.
func (h *Holder) noteProbes(results []probeResult, now time.Time) {
	for _, r := range results {
		h.asking--
		r.probe.cancel()
		r.probe.running, r.probe.lost = false, false
		r.probe.free, r.probe.problem = r.err == nil, r.err
		r.probe.later(now)
	}
}

// later says when to ask again after a conflict: soon, since a former holder may just be letting go, and then ever later.
func (p *probe) later(now time.Time) {
	p.retry = now.Add(min(100*time.Millisecond<<min(p.tries, 10), 10*time.Second))
	p.tries++
}

// noteOthers takes in that addresses are somebody else's although their probes found nobody.
func (h *Holder) noteOthers(others map[vip.Key]error, now time.Time) {
	for key, problem := range others {
		p := h.probes[key]
		if p == nil {
			p = &probe{}
			h.probes[key] = p
		}
		if !p.running {
			p.free, p.problem, p.lost = false, problem, true
			p.later(now)
		}
	}
}

// forgetProbes drops what is known about addresses that nobody wants any more, or that are in use.
func (h *Holder) forgetProbes(wants []Want) {
	if len(h.probes) == 0 {
		return
	}
	wanted := make(map[vip.Key]bool, len(wants))
	for _, w := range wants {
		wanted[w.Key()] = true
	}
	for k, p := range h.probes {
		if !wanted[k] || h.present[k] && !p.lost {
			if p.running {
				p.cancel()
			}
			delete(h.probes, k)
		}
	}
}
