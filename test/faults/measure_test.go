package faults_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// seen is what came of a fault: the worst of the addresses that were watched.
type seen struct {
	silence  time.Duration // that a client was unanswered
	overlap  time.Duration // that two hosts answered on the LAN
	asked    int           // questions of the client
	lost     int           // and those without an answer
	began    time.Time
	took     time.Duration // from the fault until it was over
	turns    string        // who answered, and from when
	describe string        // of the client's side
}

// suffer plays a fault and watches the addresses until over returns, and a second on. It is given a minute and a half.
func (b *bed) suffer(t *testing.T, fault func() error, over func(context.Context) error) seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	observer := b.LAN.Observer()
	var probers []*netns.Prober
	for _, vip := range b.vips {
		stop := require.Value(observer.Ask(vip, asking))(t)
		defer stop()
		p := b.prober(vip)
		defer p.Stop()
		require.Value(p.Wait(ctx, time.Now(), nil))(t)
		probers = append(probers, p)
	}
	s := seen{began: time.Now()}
	require.NoError(t, fault())
	if err := over(ctx); err != nil {
		t.Errorf("the fault is not over: %v", err)
	}
	end := time.Now().Add(time.Second)
	s.took = time.Since(s.began)
	for i, vip := range b.vips {
		require.Value(probers[i].Wait(ctx, end, nil))(t)
		out, history := probers[i].Report(s.began, end), observer.History(vip, s.began)
		s.silence = max(s.silence, out.Longest)
		s.overlap = max(s.overlap, history.LongestOverlap(5*asking))
		s.asked, s.lost = s.asked+out.Answered+out.Lost, s.lost+out.Lost
		s.turns += history.Turns().String() + "\n"
		s.describe += out.String() + "\n"
	}
	return s
}

// bounds are what a fault may do to an address at most.
type bounds struct {
	silence, overlap time.Duration
	// lossless says that no question of the client may be lost. It is only looked at in `make faults`: a machine that other
	// tests share can lose one by itself.
	lossless bool
}

// handover bounds what was planned: the old holder answers until it hears the new one, a second at most.
var handover = bounds{silence: slack, overlap: time.Second, lossless: true}

// table is what `make faults` prints.
type table struct {
	strict bool
	lines  []string
}

// heading starts a part of the table.
func (tb *table) heading(text string) {
	tb.lines = append(tb.lines, fmt.Sprintf("| **%s** | | | | | |", text))
}

// check adds a line, and fails the test where a bound was broken.
func (tb *table) check(t *testing.T, fault string, s seen, most bounds) {
	t.Helper()
	lost := fmt.Sprintf("%d of %d", s.lost, s.asked)
	if s.asked == 0 {
		lost = "" // only the observer asked
	}
	if most.lossless {
		lost += ", bound 0"
	}
	tb.lines = append(tb.lines, fmt.Sprintf("| %s | %d ms | %d ms | %s | %d ms | %d ms |", fault,
		s.silence.Milliseconds(), most.silence.Milliseconds(), lost, s.overlap.Milliseconds(), most.overlap.Milliseconds()))
	if s.silence > most.silence {
		t.Errorf("a client was unanswered for %v, want at most %v: %s", s.silence, most.silence, s.describe)
	}
	if s.overlap > most.overlap {
		t.Errorf("two answered for %v, want at most %v:\n%s", s.overlap, most.overlap, s.turns)
	}
	if tb.strict && most.lossless && s.lost > 0 {
		t.Errorf("%d questions were lost: %s", s.lost, s.describe)
	}
}

func (tb *table) print(t *testing.T) {
	t.Logf("leases 5/3/1 s, a client that asks every 10 ms, an observer that asks every 20 ms (200 addresses: every 200 ms)\n%s\n%s\n%s",
		"| fault | longest unanswered | bound | questions lost | longest two answered | bound |", "|---|---|---|---|---|---|", strings.Join(tb.lines, "\n"))
}
