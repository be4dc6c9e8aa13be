package l2_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"daymark/internal/l2"
	"daymark/internal/vip"
)

// say sends frames from the far end, and waits until they have been heard.
func (s *station) say(t *testing.T, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if err := s.Send(f); err != nil {
			t.Error(err)
		}
	}
	wait(20 * time.Millisecond)
}

// A foreign claim is answered once in 10 s (RFC 5227, 2.4 c), and told once in a second, each to the moment.
func TestClaimsAreDefendedAndToldNoFasterThanTheyMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan l2.Heard, 100)
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(h l2.Heard) { told <- h }})
		addr := w.addr("198.18.0.10", 0)
		set(t, a, addr, vip.Address{Prefix: addr.Prefix, Link: "lo"})
		wait(4 * time.Second)
		start := time.Now()
		for _, step := range []struct {
			at   time.Duration
			want bool
		}{{0, true}, {1, false}, {10*time.Second - 1, false}, {10 * time.Second, true}, {20*time.Second - 1, false}, {20 * time.Second, true}} {
			wait(time.Until(start.Add(step.at)))
			if got := a.Defend(addr.Key()); got != step.want {
				t.Errorf("%v after the first defence: %v", step.at, got)
			}
		}
		for _, key := range []vip.Key{w.addr("198.18.0.11", 0).Key(), {Addr: addr.Prefix.Addr(), Link: "lo"}} {
			if a.Defend(key) {
				t.Errorf("defended %v, which is not announced", key)
			}
		}
		claim, query := l2.Announcements(addr.Prefix.Addr(), stranger)[0], l2.ProbeFrame(addr.Prefix.Addr(), stranger)
		start = time.Now()
		for _, step := range []struct {
			at    time.Duration
			frame []byte
			want  int
		}{{0, claim, 1}, {20 * time.Millisecond, query, 1}, {time.Second - 1, claim, 0}, {time.Second + 20*time.Millisecond, claim, 1}, {2 * time.Second, claim, 0}} {
			wait(time.Until(start.Add(step.at)))
			far.say(t, step.frame)
			if len(told) != step.want {
				t.Errorf("%v after the first: told %d times, want %d", step.at, len(told), step.want)
			}
			for len(told) > 0 {
				<-told
			}
		}
	})
}

// A node with two links in one LAN hears on the one what it says on the other: that is nobody else.
func TestAnotherLinkOfThisNodeIsNoStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan l2.Heard, 100)
		w := simulated()
		memory, second := w.Network.(*wire), l2.MAC{2, 0, 0, 0, 0, 9}
		memory.links = append(memory.links, l2.Link{Name: "second", Index: 3, MAC: second, Running: true})
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(h l2.Heard) { told <- h }})
		addr := w.addr("198.18.0.10", 0)
		set(t, a, addr)
		far.say(t, l2.Announcements(addr.Prefix.Addr(), second)[0])
		if len(told) > 0 {
			t.Errorf("heard itself: %v", <-told)
		}
	})
}

func TestEachListenerHearsUntilItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
		addr := w.addr("198.18.0.10", 0)
		listen := func() (<-chan l2.Heard, func()) {
			heard, stop, err := a.Listen(addr.Key())
			if err != nil {
				t.Fatal(err)
			}
			return heard, stop
		}
		one, stopOne := listen()
		two, stopTwo := listen()
		claim := l2.Announcements(addr.Prefix.Addr(), stranger)[0]
		expect := func(when string, want ...int) {
			t.Helper()
			far.say(t, claim, claim) // a channel holds one
			if d := cmp.Diff(want, []int{len(one), len(two)}); d != "" {
				t.Errorf("%s: %s", when, d)
			}
			for len(one)+len(two) > 0 {
				select {
				case <-one:
				case <-two:
				}
			}
		}
		expect("both listen", 1, 1)
		stopOne()
		expect("the second listens", 0, 1)
		set(t, a) // closes what nobody needs
		expect("the second still listens", 0, 1)
		stopTwo()
		expect("nobody listens", 0, 0)
		set(t, a)
		if n := w.Network.(*wire).open(); n > 0 {
			t.Errorf("%d ports are open for nobody", n)
		}
		if _, _, err := a.Listen(vip.Key{Addr: addr.Prefix.Addr(), Link: "missing"}); err == nil {
			t.Error("listens on a link that is not there")
		}
	})
}

func TestAProbeEndsWithItsContextAndSaysWhoIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		a := w.start(t, l2.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start, key := time.Now(), w.addr("198.18.0.10", 0).Key()
		if err := a.Probe(ctx, key); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		for kind, want := range map[l2.Kind]string{
			l2.Claim: "198.18.0.10 on near is used by 02:00:00:00:00:aa", l2.Query: "198.18.0.10 on near is asked for by 02:00:00:00:00:aa",
		} {
			if got := (&l2.Conflict{Heard: l2.Heard{Key: key, Kind: kind, MAC: stranger}}).Error(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		w.down()
		if err := a.Probe(t.Context(), key); !errors.Is(err, l2.ErrLinkDown) {
			t.Errorf("on a link that is down: %v", err)
		}
	})
}

// Who is past answers first, and all the time: who isn't is heard all the same.
func TestAProbeGoesPastWhoDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
		key, member := w.addr("198.18.0.10", 0).Key(), l2.MAC{2, 0, 0, 0, 0, 0xbb}
		past := func(h l2.Heard) bool { return h.MAC == member }
		answered := func(answers ...[]byte) (err error) {
			done := make(chan error, 1)
			go func() { done <- a.ProbePast(t.Context(), key, past) }()
			wait(2 * time.Millisecond)
			for _, f := range answers {
				if err := far.Send(f); err != nil {
					t.Error(err)
				}
			}
			return <-done
		}
		theirs := [][]byte{l2.ProbeFrame(key.Addr, member), l2.Announcements(key.Addr, member)[0]}
		start := time.Now()
		if err := answered(theirs...); err != nil || time.Since(start) != 21*time.Millisecond {
			t.Errorf("what doesn't count: %v after %v", err, time.Since(start))
		}
		w.settle()
		var conflict *l2.Conflict
		if err := answered(append(theirs, l2.Announcements(key.Addr, stranger)[0])...); !errors.As(err, &conflict) || conflict.MAC != stranger {
			t.Errorf("what counts: %v", err)
		}
	})
}

func TestALateAnswerIsToldSoonAfterAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan l2.Heard, 100)
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(h l2.Heard) { told <- h }})
		addr := w.addr("198.18.0.10", 0)
		claim := l2.Announcements(addr.Prefix.Addr(), stranger)[0]
		set(t, a, addr)
		w.settle()
		far.say(t, claim)
		set(t, a)
		if err := a.Probe(t.Context(), addr.Key()); err != nil {
			t.Fatal(err)
		}
		far.say(t, claim, claim)
		var late []bool
		for len(told) > 0 {
			late = append(late, (<-told).Late)
		}
		if d := cmp.Diff([]bool{false, true}, late); d != "" {
			t.Errorf("told of a claim and, after a probe that found nobody, of a late answer that was said twice: %s", d)
		}
	})
}

// The time in which an answer is late begins with the question, however long the announcer took to ask it.
func TestAnAnswerIsLateAfterTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan l2.Heard, 100)
		w := simulated()
		memory := w.Network.(*wire)
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(h l2.Heard) { told <- h }})
		addr := w.addr("198.18.0.10", 0)
		_, stop, err := a.Listen(addr.Key()) // the port is open, and nothing is due
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		w.settle()
		stalled := make(chan struct{})
		memory.stalled = stalled
		done := make(chan error, 1)
		go func() { done <- a.Probe(t.Context(), addr.Key()) }()
		wait(300 * time.Millisecond)
		memory.mu.Lock()
		memory.stalled = nil
		memory.mu.Unlock()
		close(stalled)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		far.say(t, l2.Announcements(addr.Prefix.Addr(), stranger)[0])
		if n := len(told); n != 1 || !(<-told).Late {
			t.Errorf("an answer 21 ms after the question: told %d times", n)
		}
	})
}

func TestWhoProbesAfterUsIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan l2.Heard, 100)
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(h l2.Heard) { told <- h }})
		addr := w.addr("198.18.0.10", 0)
		if err := a.Probe(t.Context(), addr.Key()); err != nil {
			t.Fatal(err)
		}
		far.say(t, l2.ProbeFrame(addr.Prefix.Addr(), stranger))
		if len(told) > 0 {
			t.Errorf("who asks has nothing yet: %+v", <-told)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Metrics: registry, Heard: func(l2.Heard) {}})
		if _, err := l2.New(l2.Config{Metrics: registry}); err == nil {
			t.Error("registered twice")
		}
		addr, ending := w.addr("198.18.0.10", 0), w.addr("198.18.0.11", time.Second/2)
		set(t, a, addr, ending)
		wait(50 * time.Millisecond) // two frames each
		far.say(t, l2.Announcements(addr.Prefix.Addr(), stranger)[0], l2.ProbeFrame(addr.Prefix.Addr(), stranger))
		a.Defend(addr.Key()) // two
		wait(150 * time.Millisecond)
		w.down()
		wait(200 * time.Millisecond) // the third announcements are lost
		w.up()
		wait(90 * time.Millisecond) // all begin anew
		wait(time.Second)           // and the one ends
		got := map[string]float64{}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		want := map[string]float64{
			"daymark_l2_addresses": 2, "daymark_l2_heard_total claim": 1, "daymark_l2_heard_total query": 1, "daymark_l2_defences_total": 1,
			"daymark_l2_errors_total": 4, "daymark_l2_suppressed_total": 1, "daymark_l2_watch_errors_total": 0,
			// Two rounds of two forms of each, one defence, and after the link's return four rounds of the one and one of the other.
			"daymark_l2_announcements_total ARP": 2*2*2 + 2 + 4*2 + 2,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}
