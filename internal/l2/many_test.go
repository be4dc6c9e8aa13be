package l2_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
	"daymark/internal/vip"
)

func many(n int, link string) []vip.Address {
	var out []vip.Address
	for a := netip.MustParseAddr("198.18.0.1"); len(out) < n; a = a.Next() {
		out = append(out, vip.Address{Prefix: netip.PrefixFrom(a, 32), Link: link})
	}
	return out
}

func TestManyAddressesAreNoBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		w := simulated()
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
		start := time.Now()
		set(t, a, many(n, w.near)...)
		wait(10 * time.Second)
		count := func(from, to, slot time.Duration) (total, most int) {
			slots := map[time.Duration]int{}
			for _, h := range far.all() {
				if at := h.at.Sub(start); at >= from && at < to {
					total++
					slots[at/slot]++
					most = max(most, slots[at/slot])
				}
			}
			return total, most
		}
		if total, most := count(0, 90*time.Millisecond, time.Millisecond); total != 2*n || most > 64 {
			t.Errorf("taking over: %d frames, at most %d in a millisecond", total, most)
		}
		total, most := count(6500*time.Millisecond, 9500*time.Millisecond, 200*time.Millisecond)
		if total != n || most > 2*n/15 {
			t.Errorf("a period of slow refresh: %d frames, at most %d in 200 ms", total, most)
		}
	})
}

func TestSetBeforeRunAndAfterARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		far, addr := w.station(t, l2.IPv4), w.addr("198.18.0.10", 0)
		a, err := l2.New(l2.Config{Network: w.Network})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Probe(t.Context(), addr.Key()); err == nil {
			t.Error("probed while nobody listens")
		}
		set(t, a, addr)
		for range 2 {
			before := len(far.about(addr))
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			if err := a.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			if len(far.about(addr)) == before {
				t.Error("run announced nothing")
			}
		}
	})
}

// A link that gets another index, as one that is replaced by another of its name, or another hardware address is announced on anew,
// from what it is now. One about which nothing changed is left in peace, as are those beside it.
func TestLinksThatAreReplaced(t *testing.T) {
	for name, change := range map[string]func(*l2.Link){
		"nothing":                  func(*l2.Link) {},
		"another index":            func(l *l2.Link) { l.Index = 7 },
		"another hardware address": func(l *l2.Link) { l.MAC[5] = 7 },
		"down":                     func(l *l2.Link) { l.Running = false },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := simulated()
				memory := w.Network.(*wire)
				far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Period: time.Hour})
				addr := w.addr("198.18.0.10", 0)
				set(t, a, addr)
				wait(4 * time.Second)
				before, opened := len(far.about(addr)), memory.opened()
				memory.mu.Lock()
				change(&memory.links[0])
				now := memory.links[0]
				memory.mu.Unlock()
				w.tell()
				wait(500 * time.Millisecond)
				news, replaced := far.about(addr)[before:], name[:3] == "ano"
				if announced := len(news) >= 6; announced != replaced || !replaced && len(news) > 0 {
					t.Errorf("%d frames", len(news))
				}
				if again := memory.opened() > opened; again != replaced {
					t.Errorf("the port was opened again: %v", again)
				}
				for _, h := range news {
					if h.MAC != now.MAC {
						t.Errorf("announced from %s, and the link has %s", h.MAC, now.MAC)
					}
				}
			})
		})
	}
}

func TestLinksThatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		memory := w.Network.(*wire)
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
		if err := a.Set(t.Context(), many(1, "lo")); err != nil {
			t.Errorf("a link without neighbours: %v", err)
		}
		if err := a.Probe(t.Context(), many(1, "lo")[0].Key()); err != nil {
			t.Errorf("a link without neighbours: %v", err)
		}
		before := memory.opened()
		want := append(many(500, "late"), w.addr("198.18.9.9", 0))
		if err := a.Set(t.Context(), want); err == nil {
			t.Error("no error of a missing link")
		}
		wait(10*time.Second + 500*time.Millisecond) // between two attempts
		if n := memory.opened() - before; n > 20 {
			t.Errorf("looked %d times in 10 s for one missing link", n)
		}
		if len(far.about(want[500])) == 0 {
			t.Error("an address on another link suffered")
		}
		memory.mu.Lock()
		memory.links = append(memory.links, l2.Link{Name: "late", Index: 3, MAC: l2.MAC{2, 0, 0, 0, 0, 3}, Running: true})
		memory.mu.Unlock()
		w.up() // tells of the change
		wait(200 * time.Millisecond)
		if len(far.about(want[0])) == 0 || len(far.about(want[499])) == 0 {
			t.Error("not announced when the link had come")
		}
	})
}
