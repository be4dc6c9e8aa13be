package faults_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daymark/test/require"
)

// pulse feels when a machine that others share keeps this process from the CPU, which comes in spells of many seconds. Of a fault in the
// midst of one nobody can tell what it did.
type pulse struct {
	patience time.Duration // that is left for all waits together: the machine may never be calm, and then the lines of the table tell

	mu     sync.Mutex // guards what follows
	missed []late     // in the order of time
	spell  time.Time  // when it last came late by more than a busy machine does by itself, or started
}

// late is a time in which a beat was due and the process was not given the CPU.
type late struct{ from, to time.Time }

const (
	beat    = 10 * time.Millisecond
	missing = 3 * beat              // after as long, as the client's, they are missing
	tardy   = 50 * time.Millisecond // what a busy machine does by itself stays below
	quiet   = 2 * time.Second
)

// startPulse starts one that goes on until the test ends.
func startPulse(t *testing.T, patience time.Duration) *pulse {
	began := time.Now()
	p := &pulse{patience: patience, spell: began}
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
			if now.Sub(last) > missing {
				p.miss(late{last.Add(beat), now})
			}
			last = now
		}
	}()
	return p
}

func (p *pulse) miss(l late) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed = append(p.missed, l)
	if l.to.Sub(l.from)+beat > tardy {
		p.spell = l.to
	}
}

// last is when the last such spell ended.
func (p *pulse) last() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spell
}

// kept is how much of the time between two moments the process was kept from the CPU. So were the agents, and whom they ask.
func (p *pulse) kept(from, to time.Time) (sum time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.missed {
		if l.from.Before(from) {
			l.from = from
		}
		if l.to.After(to) {
			l.to = to
		}
		sum += max(0, l.to.Sub(l.from))
	}
	return sum
}

// calm waits until the machine has been quiet for a while, or its patience is at an end.
func (p *pulse) calm(t *testing.T) {
	t.Helper()
	began := time.Now()
	over := began.Add(p.patience)
	for {
		now := time.Now()
		at := p.last().Add(quiet)
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
