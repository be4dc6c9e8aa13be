package faults_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daymark/test/require"
)

// pulse feels when a machine that others share keeps this process from the CPU, which comes in spells of many seconds. Of a fault in the
// midst of one nobody can tell what it did.
type pulse struct {
	missed   atomic.Pointer[time.Time] // when it last came late
	patience time.Duration             // that is left for all waits together: the machine may never be calm, and then the lines of the table tell
}

const (
	beat  = 10 * time.Millisecond
	tardy = 50 * time.Millisecond // what a busy machine does by itself stays below
	quiet = 2 * time.Second
)

// startPulse starts one that goes on until the test ends.
func startPulse(t *testing.T, patience time.Duration) *pulse {
	p := &pulse{patience: patience}
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

// calm waits until the machine has been quiet for a while, or its patience is at an end.
func (p *pulse) calm(t *testing.T) {
	t.Helper()
	began := time.Now()
	over := began.Add(p.patience)
	for {
		now := time.Now()
		at := p.missed.Load().Add(quiet)
		if at.After(over) {
			at = over
		}
		if !at.After(now) {
			break
		}
		require.NoError(t, after(at.Sub(now))(t.Context()))
	}
	waited := time.Since(began)
	p.patience = max(0, p.patience-waited)
	if waited > time.Second {
		t.Logf("waited %v for the CPU before the fault, and has %v left to wait", waited.Round(time.Millisecond), p.patience.Round(time.Second))
	}
}
