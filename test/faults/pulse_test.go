package faults_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pulse feels when a machine that others share keeps this process from the CPU, which comes in spells of many seconds. Of a fault in the
// midst of one nobody can tell what it did.
type pulse struct {
	missed atomic.Pointer[time.Time] // when it last came late
}

const (
	beat    = 10 * time.Millisecond
	tardy   = 50 * time.Millisecond // what a busy machine does by itself stays below
	quiet   = 2 * time.Second
	longest = 30 * time.Second // the machine may never be quiet: then the line of the table tells
)

// startPulse starts one that goes on until the test ends.
func startPulse(t *testing.T) *pulse {
	p := &pulse{}
	began := time.Now()
	p.missed.Store(&began)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for last := began; ; {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
			}
			now := time.Now()
			if now.Sub(last) > tardy {
				p.missed.Store(&now)
			}
			last = now
		}
	}()
	return p
}

// calm waits until the machine has been quiet for a while.
func (p *pulse) calm(ctx context.Context, t *testing.T) {
	t.Helper()
	began := time.Now()
	for wait := time.Duration(1); wait > 0; {
		if wait = time.Until(p.missed.Load().Add(quiet)); time.Since(began)+wait > longest {
			break
		}
		if after(wait)(ctx) != nil {
			return
		}
	}
	if waited := time.Since(began); waited > time.Second {
		t.Logf("waited %v for the CPU before the fault", waited.Round(time.Millisecond))
	}
}
