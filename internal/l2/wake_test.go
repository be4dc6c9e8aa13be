package l2_test

import (
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
)

func TestListeningBeginsAtOnceWhereNothingIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := simulated(), l2.IPv4
		far, a := w.station(t, f), w.start(t, l2.Config{})
		addr := w.addr("192.0.2.9", 0)
		wait(time.Second) // nothing else wakes it any more
		heard, stop, err := a.Listen(addr.Key())
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if err := far.Send(l2.Announcements(addr.Prefix.Addr(), stranger)[0]); err != nil {
			t.Error(err)
		}
		w.settle()
		if len(heard) != 1 {
			t.Error("not heard")
		}
	})
}

func TestRefreshesOfManyWakeNobodyForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := simulated(), l2.IPv4
		far, a := w.station(t, f), w.start(t, l2.Config{})
		set(t, a, many(100, w.near)...)
		wait(10 * time.Second)
		began, times := time.Now(), map[time.Time]bool{}
		wait(l2.DefaultPeriod)
		for _, h := range far.all() {
			if h.at.After(began) {
				times[h.at] = true
			}
		}
		// Each 200 ms, and evenly spread over the period.
		if n := len(times); n < 10 || n > 16 {
			t.Errorf("100 addresses were refreshed at %d moments of %v, want 15", n, l2.DefaultPeriod)
		}
	})
}
