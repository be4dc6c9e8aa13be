package agent_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/agent"
	"daymark/internal/vip"
)

// keptTestFor is longer than an address is kept that nobody asks for.
const keptTestFor = 8 * time.Second

func TestHolderKeeps(t *testing.T) {
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
		if n := len(r.lan.probed); n < 19 || n > 21 {
			t.Errorf("the LAN was asked %d times in 20 s", n)
		}
		r.lan.ears[w.Key()] <- agent.Probed
		synctest.Wait()
		if d := cmp.Diff([]string{"192.0.2.1"}, r.passed); d != "" {
			t.Error(d)
		}
		r.expect("kernel -192.0.2.1")
	})

	story(t, "who gets the right back holds as if it never was lost, and may lose it again", func(t *testing.T) {
		r := newRig(t, nil)
		w := keep(r)
		time.Sleep(900 * time.Millisecond)
		goOn := r.stall("a", "192.0.2.1")
		time.Sleep(2 * time.Second) // the LAN was asked meanwhile
		goOn()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.expect("wire +192.0.2.1")
		r.apply("a", w)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.expect("wire -192.0.2.1")
		if len(r.passed) > 0 {
			t.Error("let go of")
		}
	})

	story(t, "who ends asks no more", func(t *testing.T) {
		r := newRig(t, nil)
		keep(r)
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 0 || len(r.passed) > 0 {
			t.Errorf("it took %v, and let go of %v", took, r.passed)
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
		freeze := sync.OnceFunc(func() { time.Sleep(7 * time.Second) })
		r.kernel.change(func(k *room) { k.changed = func(vip.Change) { freeze() } })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		r.expect("kernel -192.0.2.1")
	})

	story(t, "what was heard elsewhere while the right came back and went again is let go of", func(t *testing.T) {
		r := newRig(t, nil)
		w := keep(r)
		held := w
		held.Quiet, held.Kept = false, false
		goOn := r.stall("b", "192.0.2.2")
		r.Set("a", []agent.Want{held})
		r.lan.ears[w.Key()] <- agent.Announced // Passed says nothing to the source, which believes that it has the right
		synctest.Wait()
		r.Set("a", []agent.Want{w}) // the right was lost again before the holder's next round
		goOn()
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
		r.lan.deafens(errors.New("the link is down"))
		r.apply("a", w...)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.lan.deafens(nil)
		w[0].Passing, w[0].Kept = true, false
		r.apply("a", w...)
		w[0].Passing, w[0].Kept = false, true
		r.apply("a", w...)
		if len(r.lan.ears) != 1 {
			t.Error("nobody listens")
		}
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

	story(t, "what is preserved has no say in the ends of what is not", func(t *testing.T) {
		r := newRig(t, nil)
		w := keep(r)
		r.apply("a", append([]agent.Want{w}, want("192.0.2.2")...)...)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.expect("kernel +192.0.2.2", "wire +192.0.2.2")
		if end := r.wire.until("192.0.2.2"); !end.IsZero() {
			t.Errorf("a right without an end is announced until %v", end)
		}
	})

	story(t, "a right that had ended before the holder saw that it was lost is not preserved", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Until = time.Now().Add(4 * time.Second)
		r.apply("a", w...)
		goOn := r.stall("b", "192.0.2.2")
		w[0].Quiet, w[0].Kept, w[0].Until = true, true, time.Time{}
		r.Set("a", w)               // while the right lasted
		time.Sleep(5 * time.Second) // the kernel has ended it: others may have it
		r.journal.take()
		goOn()
		synctest.Wait()
		r.expect("wire +192.0.2.2", "wire -192.0.2.1", "kernel -192.0.2.1")
	})

	story(t, "where nobody can be heard, as by BGP, or asked, what is preserved stays", func(t *testing.T) {
		for _, change := range []func(*agent.HolderConfig, *rig){
			func(c *agent.HolderConfig, _ *rig) { c.Listener, c.Prober = nil, nil },
			func(c *agent.HolderConfig, _ *rig) { c.Listener = nil },
			func(c *agent.HolderConfig, _ *rig) { c.Prober = nil },
		} {
			r := newRig(t, change)
			keep(r)
			time.Sleep(time.Hour)
			synctest.Wait()
			r.expect()
		}
	})

	story(t, "who can't listen for a while keeps, and hears afterwards", func(t *testing.T) {
		r := newRig(t, nil)
		r.lan.deafens(errors.New("the link is down"))
		w := keep(r)
		time.Sleep(3 * time.Second)
		r.lan.deafens(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.expect()
		r.lan.ears[w.Key()] <- agent.Misused
		synctest.Wait()
		r.expect("kernel -192.0.2.1")
	})

	story(t, "who can't listen for longer lets go", func(t *testing.T) {
		r := newRig(t, nil)
		r.lan.deafens(errors.New("the link is down"))
		keep(r)
		time.Sleep(keptTestFor)
		synctest.Wait()
		r.expect("kernel -192.0.2.1")
	})

	story(t, "what is preserved and not announced by right is not asked for", func(t *testing.T) {
		r := newRig(t, nil)
		keep(r)
		right := want("192.0.2.1")
		right[0].Quiet, right[0].Until = true, time.Now().Add(time.Minute)
		r.apply("b", right...)
		r.lan.setUsed("192.0.2.1", true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := r.kernel.until("192.0.2.1"); !got.Equal(right[0].Until) || len(r.passed) > 0 {
			t.Errorf("the kernel has it until %v, and the right ends %v; passed on: %v", got, right[0].Until, r.passed)
		}
		r.apply("b")
		r.expect("kernel -192.0.2.1") // who has not asked does not know
	})

	story(t, "what was not on the link is not preserved", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Quiet, w[0].Kept = true, true
		r.apply("a", w...)
		r.expect()
	})
}
