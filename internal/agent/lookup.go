package agent

import (
	"context"
	"time"
)

// Bounds of the pause between two questions to [PeeringConfig.Lookup].
const (
	leastLookupPause = time.Second
	mostLookupPause  = 30 * time.Second
)

// lookUp asks who the peers are until it is told.
func (p *Peering) lookUp(ctx context.Context) {
	told := ""
	for pause := leastLookupPause; ; pause = min(2*pause, mostLookupPause) {
		set, err := p.cfg.Lookup(ctx)
		if err == nil {
			p.met <- set
			return
		}
		if ctx.Err() != nil {
			return
		}
		p.wait("waiting for BGP peers: " + oneLine(err))
		if told != err.Error() {
			told = err.Error()
			p.cfg.Logger.Warn("BGP peers not known; asking again", "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
