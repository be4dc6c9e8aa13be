package agent_test

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/agent"
)

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
		time.Sleep(20 * time.Minute)
		r.expect()
		if got, want := text(r.States()), "192.0.2.1 conflict: used by 02:00:00:00:00:99"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if n := len(r.lan.probed); n < 120 || n > 130 {
			t.Errorf("asked %d times in 20 min", n)
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

	story(t, "so is one that was probed for long ago", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", fresh("192.0.2.1")...)
		time.Sleep(300 * time.Millisecond)
		r.apply("b", want("192.0.2.2")...)
		r.apply("b")
		r.journal.take()
		r.lan.setUsed("192.0.2.1", true)
		r.Contest(addr("192.0.2.1").Key(), errors.New("used by 02:00:00:00:00:99"))
		synctest.Wait()
		r.expect("wire -192.0.2.1", "kernel -192.0.2.1")
	})

	story(t, "one that can't be removed is not announced again", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", fresh("192.0.2.1")...)
		time.Sleep(300 * time.Millisecond)
		r.journal.take()
		r.kernel.change(func(k *room) { k.stuck = netipMust("192.0.2.1") })
		r.Contest(addr("192.0.2.1").Key(), errors.New("used by 02:00:00:00:00:99"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.expect("wire -192.0.2.1")
		r.kernel.change(func(k *room) { k.stuck = netipAddr{} })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.expect("kernel -192.0.2.1", "kernel +192.0.2.1", "wire +192.0.2.1") // nobody has it now
	})

	story(t, "what is heard late of an address that is asked for anew is for the one who asks to hear", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", fresh("192.0.2.1")...)
		r.Contest(addr("192.0.2.1").Key(), errors.New("used by 02:00:00:00:00:99"))
		synctest.Wait()
		if got, want := text(r.States()), "192.0.2.1 probing"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		r.expect("kernel +192.0.2.1", "wire +192.0.2.1")
	})

	story(t, "what is let go of leaves alone what is asked for", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("b", want("192.0.2.2")...)
		r.apply("a", fresh("192.0.2.1")...)
		r.apply("b")
		if got, want := text(r.States()), "192.0.2.1 probing"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(r.lan.probed); n != 1 {
			t.Errorf("asked %d times", n)
		}
		if r.lan.last.Err() == nil {
			t.Error("the context of a probe outlives it")
		}
	})

	story(t, "a right lost while probing leaves nothing behind", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", fresh("192.0.2.1")...)
		time.Sleep(100 * time.Millisecond)
		r.apply("a")
		if got := text(r.States()); got != "" || r.lan.asked > 0 {
			t.Errorf("%q; %d questions are open", got, r.lan.asked)
		}
		r.apply("a", fresh("192.0.2.1")...)
		time.Sleep(200 * time.Millisecond)
		r.apply("a")
		time.Sleep(time.Second)
		r.expect() // it was asked for anew, and not for long enough
		if n := len(r.lan.probed); n != 2 {
			t.Errorf("asked %d times", n)
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
