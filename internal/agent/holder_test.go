package agent_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/agent"
	"daymark/internal/vip"
)

// rig is a holder over recording rooms, running until the test ends.
type rig struct {
	*agent.Holder
	t        *testing.T
	journal  *journal
	kernel   *room
	lan      *lan
	wire     *room
	passed   []string
	passedAt time.Time // the last of them
}

func newRig(t *testing.T, change func(*agent.HolderConfig, *rig)) *rig {
	j := &journal{}
	r := &rig{t: t, journal: j, kernel: &room{name: "kernel", journal: j}, wire: &room{name: "wire", journal: j},
		lan: &lan{used: map[netipAddr]bool{}, ears: map[vip.Key]chan agent.Said{}}}
	cfg := agent.HolderConfig{
		Datapath: r.kernel, Announcers: []agent.Announcer{r.wire}, Prober: r.lan, Listener: r.lan, Sources: []string{"a", "b"}, Logger: quietLog(t),
		Passed: func(a vip.Address) {
			r.passed, r.passedAt = append(r.passed, a.Prefix.Addr().String()), time.Now()
		},
	}
	if change != nil {
		change(&cfg, r)
	}
	r.Holder = agent.NewHolder(cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// apply sets what source wants and waits until that is true and the holder rests: only then may a story change the rooms.
func (r *rig) apply(source string, want ...agent.Want) {
	r.t.Helper()
	if err := r.Await(r.t.Context(), r.Set(source, want)); err != nil {
		r.t.Errorf("apply: %v", err)
	}
	synctest.Wait()
}

// expect compares what was recorded since the last time.
func (r *rig) expect(lines ...string) {
	r.t.Helper()
	if d := cmp.Diff(lines, r.journal.take()); d != "" {
		r.t.Error(d)
	}
}

func story(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestHolder(t *testing.T) {
	story(t, "an address is in the kernel before it is announced and withdrawn before it is removed", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1", "192.0.2.2")...)
		r.expect("kernel +192.0.2.1", "kernel +192.0.2.2", "wire +192.0.2.1", "wire +192.0.2.2")
		r.apply("a", want("192.0.2.2", "192.0.2.3")...)
		r.expect("kernel +192.0.2.3", "wire +192.0.2.3", "wire -192.0.2.1", "kernel -192.0.2.1")
		r.apply("a")
		r.expect("wire -192.0.2.2", "wire -192.0.2.3", "kernel -192.0.2.2", "kernel -192.0.2.3")
	})

	story(t, "an address stays for as long as any source wants it", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1")...)
		r.apply("b", want("192.0.2.1")...)
		r.apply("a")
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
		r.apply("b")
		r.expect("wire -192.0.2.1", "kernel -192.0.2.1")
	})

	story(t, "a refused address is not announced and harms no other; it is tried again", func(t *testing.T) {
		r := newRig(t, nil)
		r.kernel.refuse = netipMust("192.0.2.1")
		r.apply("a", want("192.0.2.1", "192.0.2.2")...)
		r.expect("kernel +192.0.2.2", "wire +192.0.2.2")
		if got, want := text(r.States()), "192.0.2.1 failed: setting 192.0.2.1/32 on eth0: refused; 192.0.2.2 held"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.kernel.mu.Lock()
		r.kernel.refuse = netipAddr{}
		r.kernel.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
	})

	story(t, "what could not be removed is an error to whoever waits, and is removed later", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1")...)
		r.journal.take()
		r.wire.changed = func(vip.Change) {
			r.kernel.breaks(errors.New("no memory"))
			r.wire.changed = nil
		}
		if err := r.Await(t.Context(), r.Set("a", nil)); err == nil {
			t.Error("no error although the address is still there")
		}
		r.kernel.breaks(nil)
		time.Sleep(1100 * time.Millisecond)
		r.expect("wire -192.0.2.1", "kernel fails", "kernel -192.0.2.1")
	})

	story(t, "what could not be withdrawn is an error, but an address without a right goes all the same", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1")...)
		r.journal.take()
		r.wire.breaks(errors.New("no socket"))
		if err := r.Await(t.Context(), r.Set("a", nil)); err == nil {
			t.Error("no error although the address may be announced still")
		}
		r.wire.breaks(nil)
		time.Sleep(1100 * time.Millisecond)
		r.expect("wire fails", "kernel -192.0.2.1", "wire -192.0.2.1")
	})

	story(t, "a right that runs out ends without another word", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Until = time.Now().Add(4 * time.Second)
		r.apply("a", w...)
		r.journal.take()
		time.Sleep(3900 * time.Millisecond)
		synctest.Wait()
		r.expect()
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		r.expect("wire -192.0.2.1", "kernel -192.0.2.1")
	})

	story(t, "a renewal moves the end everywhere and nothing else", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		for range 5 {
			w[0].Until = time.Now().Add(4 * time.Second)
			r.apply("a", w...)
			time.Sleep(time.Second)
		}
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
		if !r.kernel.until("192.0.2.1").Equal(w[0].Until) || !r.wire.until("192.0.2.1").Equal(w[0].Until) {
			t.Error("the end was not moved")
		}
	})

	story(t, "while passing on, an address is answered for but not announced, until the successor is heard", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		r.apply("a", w...)
		r.journal.take()
		w[0].Quiet, w[0].Passing, w[0].Until = true, true, time.Now().Add(time.Second)
		r.apply("a", w...)
		r.expect("wire -192.0.2.1")
		if got := r.kernel.until("192.0.2.1"); !got.Equal(w[0].Until) {
			t.Errorf("the kernel has it until %v, not %v", got, w[0].Until)
		}
		r.lan.ears[w[0].Key()] <- agent.Announced
		heard := time.Now()
		time.Sleep(time.Second)
		synctest.Wait()
		if d := cmp.Diff([]string{"192.0.2.1"}, r.passed); d != "" {
			t.Error(d)
		}
		if after := r.passedAt.Sub(heard); after < 40*time.Millisecond || after > 90*time.Millisecond {
			t.Errorf("let go of after %v: what is on its way is to be answered, and who asked the LAN to be put right 100 ms after the first announcement", after)
		}
		r.apply("a")
		r.expect("kernel -192.0.2.1")
		if len(r.lan.ears) != 0 {
			t.Error("it still listens")
		}
	})

	story(t, "where two may announce, what is passed on stays announced, as leaving, until the right ends", func(t *testing.T) {
		r := newRig(t, func(c *agent.HolderConfig, _ *rig) { c.Overlap, c.Listener = true, nil })
		w := want("192.0.2.1", "192.0.2.2")
		r.apply("a", w...)
		r.journal.take()
		w[0].Quiet, w[0].Passing = true, true
		w[1].Quiet = true // preserved, not passed
		r.apply("a", w...)
		r.expect("wire marks 192.0.2.1", "wire -192.0.2.2")
		r.apply("a")
		r.expect("wire -192.0.2.1", "kernel -192.0.2.1", "kernel -192.0.2.2")
	})

	story(t, "detached addresses are announced without the kernel", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Detached = true
		r.apply("a", w...)
		r.apply("a")
		r.expect("wire +192.0.2.1", "wire -192.0.2.1")
	})

	keep := func(r *rig) agent.Want {
		w := want("192.0.2.1")
		r.apply("a", w...)
		w[0].Quiet, w[0].Kept = true, true
		r.apply("a", w...)
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1", "wire -192.0.2.1")
		return w[0]
	}

	story(t, "preserved addresses stay on the link, unannounced, for as long as the agent lives, until another host is heard", func(t *testing.T) {
		r := newRig(t, nil)
		w := keep(r)
		for range 20 {
			time.Sleep(time.Second)
			synctest.Wait()
			if left := time.Until(r.kernel.until("192.0.2.1")); left < 4*time.Second || left > 6*time.Second {
				t.Fatalf("the kernel has it for %v", left)
			}
		}
		r.expect()
		r.lan.ears[w.Key()] <- agent.Probed
		synctest.Wait()
		if d := cmp.Diff([]string{"192.0.2.1"}, r.passed); d != "" {
			t.Error(d)
		}
	})

	story(t, "the LAN is asked for what is preserved: another host may have announced it unheard", func(t *testing.T) {
		r := newRig(t, nil)
		keep(r)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(r.passed) > 0 {
			t.Error("let go of although nobody else has it")
		}
		r.lan.setUsed("192.0.2.1", true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if d := cmp.Diff([]string{"192.0.2.1"}, r.passed); d != "" {
			t.Error(d)
		}
	})

	story(t, "what is preserved and was lost while the agent was frozen is not taken back", func(t *testing.T) {
		r := newRig(t, nil)
		keep(r)
		frozen := false
		r.kernel.mu.Lock()
		r.kernel.changed = func(vip.Change) {
			if !frozen {
				frozen = true
				time.Sleep(7 * time.Second)
			}
		}
		r.kernel.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		r.expect("kernel -192.0.2.1")
	})

	story(t, "what was heard elsewhere while the right came back and went again is let go of", func(t *testing.T) {
		r := newRig(t, nil)
		w := keep(r)
		held := w
		held.Quiet, held.Kept = false, false
		round := make(chan struct{})
		r.kernel.mu.Lock()
		r.kernel.changed = func(vip.Change) { <-round }
		r.kernel.mu.Unlock()
		r.Set("b", []agent.Want{{Address: want("192.0.2.2")[0].Address, Sure: true}})
		synctest.Wait() // a round is under way
		r.Set("a", []agent.Want{held})
		r.lan.ears[w.Key()] <- agent.Announced // Passed says nothing to the source, which believes that it has the right
		synctest.Wait()
		r.Set("a", []agent.Want{w}) // the right was lost again before the holder's next round
		close(round)
		time.Sleep(keptTestFor)
		synctest.Wait()
		r.expect("kernel +192.0.2.2", "wire +192.0.2.2", "kernel -192.0.2.1")
	})

	story(t, "what was passed on and is preserved then is asked for, too", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		r.apply("a", w...)
		w[0].Quiet, w[0].Passing = true, true
		r.apply("a", w...)
		w[0].Passing, w[0].Kept = false, true
		r.apply("a", w...)
		r.journal.take()
		r.lan.setUsed("192.0.2.1", true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.expect("kernel -192.0.2.1")
	})

	story(t, "what is preserved and can't be asked for any more ends", func(t *testing.T) {
		r := newRig(t, nil)
		keep(r)
		r.lan.hangs(true)
		time.Sleep(keptTestFor)
		synctest.Wait()
		r.expect("kernel -192.0.2.1")
	})

	story(t, "what is preserved does not prolong a right to the same address", func(t *testing.T) {
		r := newRig(t, nil)
		keep(r)
		right := want("192.0.2.1")
		right[0].Until = time.Now().Add(2 * time.Second)
		r.apply("b", right...)
		if got := r.wire.until("192.0.2.1"); !got.Equal(right[0].Until) {
			t.Errorf("announced until %v, and the right ends %v", got, right[0].Until)
		}
	})

	story(t, "what was not on the link is not preserved", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Quiet, w[0].Kept = true, true
		r.apply("a", w...)
		r.expect()
	})
}

// keptTestFor is longer than an address is kept that nobody asks for.
const keptTestFor = 8 * time.Second

func TestHolderProbes(t *testing.T) {
	fresh := func(texts ...string) []agent.Want {
		w := want(texts...)
		for i := range w {
			w[i].Sure = false
		}
		return w
	}

	story(t, "a new address waits for its probe; others, and whoever applies, do not", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1")...)
		began := time.Now()
		r.apply("a", append(want("192.0.2.1"), fresh("192.0.2.2")...)...)
		if time.Since(began) > 0 {
			t.Error("applying waited for a probe")
		}
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
		time.Sleep(230 * time.Millisecond)
		synctest.Wait()
		r.expect("kernel +192.0.2.2", "wire +192.0.2.2")
	})

	story(t, "an address that is used is not taken until it is free", func(t *testing.T) {
		r := newRig(t, nil)
		r.lan.setUsed("192.0.2.1", true)
		r.apply("a", fresh("192.0.2.1")...)
		time.Sleep(20 * time.Second)
		r.expect()
		if got, want := text(r.States()), "192.0.2.1 conflict: used by 02:00:00:00:00:99"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if n := len(r.lan.probed); n > 15 {
			t.Errorf("asked %d times in 20 s", n)
		}
		r.lan.setUsed("192.0.2.1", false)
		time.Sleep(11 * time.Second)
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
	})

	story(t, "an address whose owner answered too late is let go of, and asked for again", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", append(fresh("192.0.2.1"), want("192.0.2.2")...)...)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		r.expect("kernel +192.0.2.2", "wire +192.0.2.2", "kernel +192.0.2.1", "wire +192.0.2.1")
		r.lan.setUsed("192.0.2.1", true)
		r.Contest(addr("192.0.2.1").Key(), errors.New("used by 02:00:00:00:00:99"))
		synctest.Wait()
		r.expect("wire -192.0.2.1", "kernel -192.0.2.1")
		if got, want := text(r.States()), "192.0.2.1 conflict: used by 02:00:00:00:00:99; 192.0.2.2 held"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(20 * time.Second)
		r.expect()
		r.lan.setUsed("192.0.2.1", false)
		time.Sleep(11 * time.Second)
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
	})

	story(t, "a right lost while probing leaves nothing behind", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", fresh("192.0.2.1")...)
		time.Sleep(100 * time.Millisecond)
		r.apply("a")
		time.Sleep(time.Second)
		r.expect()
		if got := text(r.States()); got != "" {
			t.Error(got)
		}
	})

	story(t, "a thousand new addresses are held within seconds", func(t *testing.T) {
		r := newRig(t, nil)
		var w []agent.Want
		for i := range 1000 {
			a := addr("192.0.2.1")
			a.Prefix = prefixFrom(10, i)
			w = append(w, agent.Want{Address: a})
		}
		began, before := time.Now(), runtime.NumGoroutine()
		r.apply("a", w...)
		if n := runtime.NumGoroutine() - before; n > 300 {
			t.Errorf("%d goroutines for a thousand addresses", n)
		}
		for len(r.kernel.Held()) < 1000 {
			time.Sleep(50 * time.Millisecond)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("it took %s", d)
		}
	})
}

func TestHolderAdopts(t *testing.T) {
	left := func(r *rig) { r.kernel.left = []vip.Address{addr("192.0.2.1"), addr("192.0.2.2")} }
	story(t, "what a former run left does not flap, and what nobody wants is swept when all have spoken", func(t *testing.T) {
		r := newRig(t, func(_ *agent.HolderConfig, r *rig) { left(r) })
		r.apply("a", agent.Want{Address: addr("192.0.2.1")})
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
		if len(r.lan.probed) > 0 {
			t.Error("asked for an address that was on the link")
		}
		r.apply("b")
		synctest.Wait()
		r.expect("kernel swept 192.0.2.2")
	})
	story(t, "nothing is swept while a source is silent", func(t *testing.T) {
		r := newRig(t, func(_ *agent.HolderConfig, r *rig) { left(r) })
		r.apply("a")
		time.Sleep(time.Hour)
		r.expect()
	})
}
