package l2_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
	"daymark/internal/vip"
)

func (w lan) addr(text string, left time.Duration) vip.Address {
	a := netip.MustParseAddr(text)
	v := vip.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Link: w.near}
	if left != 0 {
		v.Until = time.Now().Add(left)
	}
	return v
}

func set(t *testing.T, a *l2.Announcer, want ...vip.Address) {
	t.Helper()
	if err := a.Set(t.Context(), want); err != nil {
		t.Error(err)
	}
}

var families = map[string]struct {
	family l2.Family
	addr   string
}{"ARP": {l2.IPv4, "198.18.0.10"}, "NDP": {l2.IPv6, "fd00::10"}}

// stranger is a station that is not on this machine.
var stranger = l2.MAC{2, 0, 0, 0, 0, 0xaa}

// onEach runs a behaviour for ARP and NDP, in memory and really.
func onEach(t *testing.T, behave func(t *testing.T, w lan, f l2.Family, addr string)) {
	t.Helper()
	t.Parallel()
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, w lan) { behave(t, w, f.family, f.addr) })
		})
	}
}

func TestTakeOverIsAnnouncedAtOnceAndAgain(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{})
		addr, start := w.addr(text, 0), time.Now()
		set(t, a, addr)
		wait(3500 * time.Millisecond)
		got := far.rounds(addr)
		offsets := []time.Duration{0, 100, 300, 1000, 3000}
		if w.slack > 0 {
			offsets = offsets[:1] // what a starved machine misses is left out
		}
		if len(got) < max(3, len(offsets)) {
			t.Fatalf("%d announcements", len(got))
		}
		for i, at := range offsets {
			if d := got[i].Sub(start) - at*time.Millisecond; d < 0 || d > w.slack {
				t.Errorf("announcement %d came at %v, want %d ms", i, got[i].Sub(start), at)
			}
		}
		if len(got) > 6 {
			t.Errorf("%d announcements within 3.5 s", len(got))
		}
		forms := l2.Announcements(addr.Prefix.Addr(), far.about(addr)[0].MAC)
		for i, form := range forms {
			if got := far.about(addr)[i].frame; string(got[:len(form)]) != string(form) {
				t.Errorf("form %d is % x, want % x", i, got, form)
			}
		}
	})
}

func TestSlowRefresh(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{Period: time.Millisecond})
		addr := w.addr(text, 0)
		set(t, a, addr)
		wait(3500 * time.Millisecond)
		began, before := time.Now(), len(far.rounds(addr))
		wait(2 * time.Second)
		n := len(far.rounds(addr)) - before
		took := time.Since(began) // longer than that on a machine that is busy
		if most := int((took + w.slack) / l2.LeastPeriod); n < w.atLeast(3) || n > most {
			t.Errorf("%d announcements in %v at the shortest period of %v", n, took, l2.LeastPeriod)
		}
	})
}

func TestWithdrawnIsSilent(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{})
		gone, kept := w.addr(text, 0), w.addr("198.18.0.11", 0)
		set(t, a, gone, kept)
		wait(150 * time.Millisecond)
		set(t, a, kept)
		w.settle()
		before := len(far.about(gone))
		wait(time.Second)
		if after := len(far.about(gone)); before == 0 || after != before {
			t.Errorf("%d frames before it was withdrawn, %d after", before, after-before)
		}
	})
}

func TestRenewedRightAnnouncesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{})
		set(t, a, w.addr(text, 4*time.Second))
		wait(2 * time.Second) // the last announcement was after 1 s, the next is after 3 s
		before := len(far.about(w.addr(text, 0)))
		for range 4 {
			set(t, a, w.addr(text, 4*time.Second))
			wait(100 * time.Millisecond)
		}
		if n := len(far.about(w.addr(text, 0))); before == 0 || n != before {
			t.Errorf("%d frames before renewing, %d while", before, n-before)
		}
	})
}

func TestNothingAfterTheRightHasRunOut(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{})
		// At 0, 0.1 and 0.3 s. The next would be after 1 s.
		right, rounds := 500*time.Millisecond, 3
		if w.slack > 0 { // a starved machine may take that long for the first; after the one at 1 s the next would be after 3 s
			right, rounds = 2500*time.Millisecond, 4
		}
		addr := w.addr(text, right)
		set(t, a, addr)
		wait(right + time.Second)
		got := far.about(addr)
		if n := rounds * len(l2.Announcements(addr.Prefix.Addr(), stranger)); len(got) == 0 || len(got) > n {
			t.Errorf("%d frames, want %d", len(got), n)
		}
		// Others may have had it meanwhile: it is new again.
		set(t, a, w.addr(text, time.Minute))
		w.settle()
		if len(far.about(addr)) == len(got) {
			t.Error("not announced when the right was won again")
		}
	})
}

func TestAnnouncedAgainWhenTheLinkIsBack(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{Period: time.Hour})
		addr := w.addr(text, 0)
		set(t, a, addr)
		wait(3200 * time.Millisecond)
		w.down()
		wait(100 * time.Millisecond)
		before := len(far.rounds(addr))
		w.up()
		wait(500 * time.Millisecond)
		w.settle()
		if n := len(far.rounds(addr)) - before; n < w.atLeast(3) {
			t.Errorf("%d announcements soon after the link's return", n)
		}
	})
}

func TestProbe(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{})
		key, start := w.addr(text, 0).Key(), time.Now()
		if err := a.Probe(t.Context(), key); err != nil {
			t.Error("free:", err)
		}
		if took := time.Since(start); took < 20*time.Millisecond || took > 25*time.Millisecond+w.slack {
			t.Errorf("took %v", took)
		}
		w.settle()
		asked := far.about(w.addr(text, 0))
		if len(asked) != 3 || asked[0].Kind != l2.Query {
			t.Errorf("asked %d times: %v", len(asked), asked)
		}
		for kind, answer := range map[l2.Kind][]byte{
			l2.Claim: l2.Announcements(key.Addr, stranger)[0],
			l2.Query: l2.ProbeFrame(key.Addr, stranger),
		} {
			err := w.probeWhile(t, far, a, key, answer)
			w.settle() // what was said until now is no answer to the next one
			var conflict *l2.Conflict
			if !errors.As(err, &conflict) || conflict.Kind != kind || conflict.MAC != stranger || conflict.Key != key {
				t.Errorf("in use: %v", err)
			}
		}
	})
}

// A host that takes its time to answer was there first all the same, until a quarter of a second has passed; and is given that
// time from then on.
func TestLateAnswerToAProbe(t *testing.T) {
	for _, announced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w, f := simulated(), l2.IPv4
			news := make(chan l2.Heard, 100)
			far, a := w.station(t, f), w.start(t, l2.Config{Heard: func(h l2.Heard) { news <- h }})
			addr := w.addr("192.0.2.9", 0)
			claim := func() (h l2.Heard, told bool) {
				if err := far.Send(l2.Announcements(addr.Prefix.Addr(), stranger)[0]); err != nil {
					t.Error(err)
				}
				w.settle()
				select {
				case h = <-news:
					return h, true
				default:
					return l2.Heard{}, false
				}
			}
			if err := a.Probe(t.Context(), addr.Key()); err != nil {
				t.Fatal(err)
			}
			if announced {
				set(t, a, addr)
			} else {
				set(t, a)
			}
			wait(220 * time.Millisecond)
			if h, told := claim(); !told || !h.Late || h.MAC != stranger {
				t.Errorf("an answer after 241 ms: told %v, %+v", told, h)
			}
			wait(10 * time.Second)
			if h, told := claim(); told != announced || h.Late {
				t.Errorf("a claim much later: told %v, %+v", told, h)
			}
			set(t, a)
			for _, want := range []time.Duration{250 * time.Millisecond, 21 * time.Millisecond} {
				start := time.Now()
				if err := a.Probe(t.Context(), addr.Key()); err != nil || time.Since(start) != want {
					t.Errorf("probing again: %v after %v, want %v", err, time.Since(start), want)
				}
				wait(time.Minute)
			}
		})
	}
}

func TestForeignClaimsAreHeardAndDefendedOnce(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		news := make(chan l2.Heard, 100)
		far, a := w.station(t, f), w.start(t, l2.Config{Heard: func(h l2.Heard) { news <- h }})
		addr := w.addr(text, time.Minute)
		set(t, a, addr)
		wait(3200 * time.Millisecond)
		ours := far.about(addr)[0].MAC // this node hears itself where two of its links are in one LAN
		for _, mac := range []l2.MAC{ours, stranger, stranger, stranger, stranger, stranger} {
			if err := far.Send(l2.Announcements(addr.Prefix.Addr(), mac)[0]); err != nil {
				t.Error(err)
			}
		}
		w.settle()
		if len(news) != 1 {
			t.Fatalf("told %d times of five claims at once", len(news))
		}
		if h := <-news; h.Key != addr.Key() || h.MAC != stranger || h.Kind != l2.Claim {
			t.Errorf("heard %+v", h)
		} else if held := h.At.Sub(h.Since); held < 0 || held > 3300*time.Millisecond+w.slack {
			t.Errorf("heard %v after it was taken, which was 3.2 s ago", held)
		}
		before := len(far.about(addr))
		if !a.Defend(addr.Key()) || a.Defend(addr.Key()) {
			t.Error("defence must happen once, and not again within 10 s")
		}
		w.settle()
		if len(far.about(addr)) == before {
			t.Error("nothing sent in defence")
		}
		set(t, a, w.addr(text, -time.Second))
		if a.Defend(addr.Key()) {
			t.Error("defended without a right")
		}
	})
}

func TestListenHearsTheSuccessorOfAWithdrawnAddress(t *testing.T) {
	onEach(t, func(t *testing.T, w lan, f l2.Family, text string) {
		far, a := w.station(t, f), w.start(t, l2.Config{})
		addr := w.addr(text, 0)
		set(t, a, addr)
		heard, stop, err := a.Listen(addr.Key())
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		set(t, a)
		// A link that came up a moment ago may lose what is sent on it.
		for end := time.Now().Add(time.Second + w.slack); len(heard) == 0 && time.Now().Before(end); wait(50 * time.Millisecond) {
			if err := far.Send(l2.Announcements(addr.Prefix.Addr(), stranger)[0]); err != nil {
				t.Error(err)
			}
		}
		select {
		case h := <-heard:
			if h.MAC != stranger {
				t.Errorf("heard %v", h)
			}
		default:
			t.Error("heard nothing")
		}
	})
}
