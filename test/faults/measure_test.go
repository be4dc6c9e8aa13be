package faults_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// seen is what came of a fault: the worst of the addresses that were watched.
type seen struct {
	silence  time.Duration // that a client was unanswered, as far as it asked
	excused  time.Duration // that it did not ask in the midst of that
	unasked  time.Duration // that it did not ask altogether although it was to: it was not given the CPU
	overlap  time.Duration // that two hosts answered on the LAN
	asked    int           // questions of the client
	lost     int           // and those without an answer
	began    time.Time
	took     time.Duration // from the fault until nobody watched any more
	turns    string        // who answered, and from when
	describe string        // of the client's side
	observed string        // of the observer's, where that is worse

	succession succession
	moves      map[move]int // addresses that another had in the end, of many
}

// suffer plays a fault, when the machine is calm, and watches the addresses until over returns, and a second on. It is given a minute and a half.
func (b *bed) suffer(t *testing.T, fault func() error, over func(context.Context) error) seen {
	t.Helper()
	b.pulse.calm(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	observer := b.LAN.Observer()
	for _, vip := range b.vips {
		stop := require.Value(observer.Ask(vip, asking))(t)
		defer stop()
	}
	s, end := b.ask(ctx, t, b.vips, fault, over)
	for _, vip := range b.vips {
		s.overlap = max(s.overlap, observer.Overlap(vip, s.began, end, 5*asking))
		s.turns += observer.History(vip, s.began).Turns().String() + "\n"
		former, ok := observer.History(vip, time.Time{}).Last(s.began)
		if !ok {
			t.Errorf("nobody was seen to have %s before the fault", vip)
		}
		s.succession.take(b.pulse, s.began, former.Host, vip, observer.History(vip, s.began).Between(s.began, end))
	}
	return s
}

// ask plays a fault while a client asks for addresses, until over returns and a second on, which is the end.
func (b *bed) ask(ctx context.Context, t *testing.T, addrs []netip.Addr, fault func() error, over func(context.Context) error) (s seen, end time.Time) {
	t.Helper()
	var probers []*netns.Prober
	for _, addr := range addrs {
		p := b.prober(addr)
		defer p.Stop()
		probers = append(probers, p)
	}
	for _, p := range probers {
		require.Value(p.Wait(ctx, time.Now(), nil))(t)
	}
	s.began = time.Now()
	require.NoError(t, fault())
	if err := over(ctx); err != nil {
		t.Errorf("the fault is not over: %v", err)
	}
	end = time.Now().Add(time.Second)
	for i, p := range probers {
		require.Value(p.Wait(ctx, end, nil))(t)
		require.NoError(t, p.Settle(ctx, end))
		out := p.Report(s.began, end)
		if out.Longest > s.silence {
			s.silence, s.excused = out.Longest, out.Excused
		}
		s.unasked = max(s.unasked, out.Unasked)
		s.asked, s.lost = s.asked+out.Answered+out.Lost, s.lost+out.Lost
		s.describe += addrs[i].String() + ": " + out.String() + "\n"
	}
	s.took = end.Sub(s.began)
	return s, end
}

// bounds are what a fault may do to an address at most.
type bounds struct {
	silence, overlap time.Duration
	// taken is how long after the fault another host is to have the first word at the latest; 0 where none need have it.
	taken time.Duration
	// lossless says that no question of the client may be lost. It is only looked at in `make faults`: a machine that other
	// tests share can lose one by itself.
	lossless bool
}

// handover bounds what was planned: the old holder answers until it hears the new one, a second at most.
var handover = bounds{silence: slack, overlap: time.Second, lossless: true}

// The others bound what nobody planned: another host has the address in time, and after its first word who had it says none.
var (
	dies = bounds{silence: dead, taken: dead}
	// Who is cut off from the API alone withdraws sooner, but that nobody can tell from a dead one: the next waits as long.
	cutOff = bounds{silence: dead, taken: dead}
	pulled = bounds{silence: cut, taken: cut}
)

// table is what `make faults` prints.
type table struct {
	strict bool // `make faults`: nothing is put down to a machine that other tests share
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
	silence := fmt.Sprintf("%d ms", s.silence.Milliseconds())
	if s.unasked > 100*time.Millisecond {
		silence += fmt.Sprintf(", not asked for %d ms", s.unasked.Milliseconds())
	}
	if s.excused > 100*time.Millisecond {
		silence += fmt.Sprintf(", %d ms of it in the midst", s.excused.Milliseconds())
	}
	tb.lines = append(tb.lines, fmt.Sprintf("| %s | %s | %d ms | %s | %d ms | %d ms |", fault,
		silence, most.silence.Milliseconds(), lost, s.overlap.Milliseconds(), most.overlap.Milliseconds()))
	if s.silence > most.silence {
		t.Errorf("a client was unanswered for %v, want at most %v: %s%s", s.silence, most.silence, s.describe, s.observed)
	}
	// Where even all the time in which nobody asked, added to what was unanswered, keeps the bound, the bound is shown all the same.
	if s.unasked > s.took/2 && s.silence+s.unasked > most.silence {
		tb.tell(t)("nothing is shown: nobody asked for %v of %v: %s", s.unasked, s.took, s.describe)
	}
	if undecided(s.silence, s.excused, most.silence) {
		tb.tell(t)("nothing is shown: unanswered for %v, and nobody asked for %v of them: %s%s", s.silence+s.excused, s.excused, s.describe, s.observed)
	}
	s.succession.check(t, tb, most)
	if most.overlap > 0 && !tb.strict {
		most.overlap += s.unasked // who isn't given the CPU to ask isn't given it to hear the successor either
	}
	if s.overlap > most.overlap {
		t.Errorf("two answered for %v, want at most %v:\n%s", s.overlap, most.overlap, s.turns)
	}
	if tb.strict && most.lossless && s.lost > 0 {
		t.Errorf("%d questions were lost: %s", s.lost, s.describe)
	}
}

// tell is how to tell of what the machine is to blame for: it fails the test where the machine is the tests' own.
func (tb *table) tell(t *testing.T) func(format string, args ...any) {
	if tb.strict {
		return t.Errorf
	}
	return t.Logf
}

func (tb *table) print(t *testing.T) {
	t.Logf("leases 5/3/1 s, a client that asks every 10 ms, an observer that asks every 20 ms (200 addresses: every 200 ms).\n"+
		"Time in which they were not given the CPU to ask is no part of what was unanswered, and is told where it is more than 100 ms; so is what of it lies in the longest.\n%s\n%s\n%s",
		"| fault | longest unanswered | bound | questions lost | longest two answered | bound |", "|---|---|---|---|---|---|", strings.Join(tb.lines, "\n"))
}
