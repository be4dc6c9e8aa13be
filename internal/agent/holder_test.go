package agent_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
	stop     func()    // ends the holder
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
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r.lan.asked > 0 {
			t.Error("it still asks")
		}
	})
	t.Cleanup(r.stop)
	synctest.Wait() // its first round is over
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

// stall has a round of the holder begin, since source wants addr, that lasts until goOn is called.
func (r *rig) stall(source, addr string) (goOn func()) {
	over := make(chan struct{})
	r.kernel.change(func(k *room) { k.changed = func(vip.Change) { <-over } })
	r.Set(source, want(addr))
	synctest.Wait()
	return func() { close(over) }
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
		version := r.Set("a", nil)
		for range 2 {
			if err := r.Await(t.Context(), version); err == nil {
				t.Error("no error although the address is still there")
			}
		}
		r.kernel.breaks(nil)
		time.Sleep(1100 * time.Millisecond)
		r.expect("wire -192.0.2.1", "kernel fails", "kernel -192.0.2.1")
	})

	story(t, "one that can't be removed brings none back that was", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1", "192.0.2.2", "192.0.2.3")...)
		r.journal.take()
		r.kernel.change(func(k *room) { k.stuck = netipMust("192.0.2.1") })
		if err := r.Await(t.Context(), r.Set("a", want("192.0.2.3"))); err == nil {
			t.Error("no error although the address is still there")
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got, want := text(r.States()), "192.0.2.3 held"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.expect("wire -192.0.2.1", "wire -192.0.2.2", "kernel -192.0.2.2")
		r.Set("a", []agent.Want{{Address: addr("192.0.2.2")}}) // not on the link any more: it is probed for
		synctest.Wait()
		if len(r.lan.probed) != 1 {
			t.Errorf("probed %d times", len(r.lan.probed))
		}
		r.kernel.change(func(k *room) { k.stuck = netipAddr{} })
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		r.expect("wire -192.0.2.3", "kernel -192.0.2.3", "kernel +192.0.2.2", "wire +192.0.2.2", "kernel -192.0.2.1")
	})

	story(t, "what was refused and is wanted no more is not added afterwards", func(t *testing.T) {
		r := newRig(t, nil)
		r.kernel.change(func(k *room) { k.refuse = netipMust("192.0.2.1") })
		r.apply("a", want("192.0.2.1")...)
		r.kernel.change(func(k *room) { k.refuse = netipAddr{} })
		r.apply("a")
		r.expect()
	})

	story(t, "an address that gets lost while another is removed is shown", func(t *testing.T) {
		r := newRig(t, nil)
		r.apply("a", want("192.0.2.1", "192.0.2.2")...)
		r.kernel.change(func(k *room) { k.changed = func(vip.Change) { k.refuse = netipMust("192.0.2.1") } })
		r.apply("a", want("192.0.2.1")...) // no error: what was to be removed is
		if got, want := text(r.States()), "192.0.2.1 failed: setting 192.0.2.1/32 on eth0: refused"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})

	story(t, "at rest nothing is done, and what fails is tried once a second", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Until = time.Now().Add(2 * time.Hour)
		r.apply("a", w...)
		before := r.kernel.count()
		version := r.Set("a", w)
		began := time.Now()
		if err := r.Await(t.Context(), version); err != nil || time.Since(began) > 0 {
			t.Errorf("waited %v for what was true: %v", time.Since(began), err)
		}
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if n := r.kernel.count() - before; n > 0 {
			t.Errorf("the kernel was told %d times in an hour", n)
		}
		w[0].Until = time.Now().Add(2 * time.Hour)
		r.apply("a", w...)
		if n := r.kernel.count() - before; n != 1 {
			t.Errorf("the kernel was told %d times of a renewal", n)
		}
		r.wire.breaks(errors.New("no socket"))
		before = r.wire.count()
		r.apply("a", want("192.0.2.1", "192.0.2.2")...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := r.wire.count() - before; n < 10 || n > 12 {
			t.Errorf("%d attempts in 10 s", n)
		}
	})

	story(t, "who waits is not answered by what was begun before", func(t *testing.T) {
		r := newRig(t, nil)
		goOn := r.stall("a", "192.0.2.1")
		waited := make(chan error)
		go func() { waited <- r.Await(t.Context(), r.Set("a", want("192.0.2.2"))) }()
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Await(gone, r.Set("b", nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up waiting was told %v", err)
		}
		goOn()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		if err := r.Await(t.Context(), 1); err != nil {
			t.Errorf("who waits for what was replaced meanwhile is told %v", err)
		}
		if d := cmp.Diff([]string{
			"kernel +192.0.2.1", "wire +192.0.2.1", "kernel +192.0.2.2", "wire -192.0.2.1", "wire +192.0.2.2", "kernel -192.0.2.1",
		}, r.journal.take(), cmpopts.SortSlices(strings.Compare)); d != "" {
			t.Error(d)
		}
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

	story(t, "what may be announced, although announcing it failed, is to be withdrawn", func(t *testing.T) {
		r := newRig(t, nil)
		r.wire.breaks(errors.New("no socket"))
		r.apply("a", want("192.0.2.1", "192.0.2.2")...)
		version := r.Set("a", want("192.0.2.2"))
		if err := r.Await(t.Context(), version); err == nil {
			t.Error("no error although the address may be announced")
		}
		synctest.Wait()
		r.wire.breaks(nil)
		if err := r.Await(t.Context(), version); err != nil {
			t.Error(err)
		}
	})

	story(t, "what can't be announced is on the link, is shown, and is tried again", func(t *testing.T) {
		r := newRig(t, nil)
		r.wire.breaks(errors.New("no socket"))
		r.apply("a", want("192.0.2.1")...)
		if got, want := text(r.States()), "192.0.2.1 failed: no socket"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.wire.breaks(nil)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		r.expect("kernel +192.0.2.1", "wire fails", "wire +192.0.2.1")
		if got, want := text(r.States()), "192.0.2.1 held"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
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

	story(t, "so does one that was applied slowly", func(t *testing.T) {
		r := newRig(t, nil)
		slow := sync.OnceFunc(func() { time.Sleep(3 * time.Second) })
		r.kernel.change(func(k *room) { k.changed = func(vip.Change) { slow() } })
		w := want("192.0.2.1")
		w[0].Until = time.Now().Add(4 * time.Second)
		r.apply("a", w...)
		r.journal.take()
		time.Sleep(time.Until(w[0].Until))
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
		if after := r.passedAt.Sub(heard); after < 200*time.Millisecond || after > 290*time.Millisecond {
			t.Errorf("let go of after %v: what is half answered is to be answered, and who asked the LAN to be put right 300 ms after the first announcement", after)
		}
		r.apply("a")
		r.expect("kernel -192.0.2.1")
		if len(r.lan.ears) != 0 {
			t.Error("it still listens")
		}
	})

	passing := func(r *rig) agent.Want {
		w := want("192.0.2.1")
		r.apply("a", w...)
		w[0].Quiet, w[0].Passing, w[0].Until = true, true, time.Now().Add(5*time.Second)
		r.apply("a", w...)
		r.journal.take()
		return w[0]
	}

	story(t, "a successor that only asks for an address has not taken it", func(t *testing.T) {
		r := newRig(t, nil)
		w := passing(r)
		r.lan.ears[w.Key()] <- agent.Probed
		r.lan.setUsed("192.0.2.1", true)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(r.passed)+len(r.lan.probed) > 0 {
			t.Error("let go of before it was announced")
		}
		r.lan.ears[w.Key()] <- agent.Announced
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if d := cmp.Diff([]string{"192.0.2.1"}, r.passed); d != "" {
			t.Error(d)
		}
	})

	story(t, "a stranger that uses an address is not its successor", func(t *testing.T) {
		r := newRig(t, nil)
		w := passing(r)
		for range 10 {
			r.lan.ears[w.Key()] <- agent.Misused
			time.Sleep(300 * time.Millisecond)
			synctest.Wait()
			if len(r.passed) > 0 {
				t.Fatal("let go of before its successor announced it")
			}
		}
		r.lan.ears[w.Key()] <- agent.Announced
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if d := cmp.Diff([]string{"192.0.2.1"}, r.passed); d != "" {
			t.Error(d)
		}
	})

	story(t, "what is passed on while it is asked for is not taken any more", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Sure = false
		r.apply("a", w...)
		w[0].Quiet, w[0].Passing = true, true
		r.apply("a", w...)
		time.Sleep(time.Second)
		synctest.Wait()
		r.expect()
		if got := text(r.States()); got != "" || len(r.lan.ears) > 0 {
			t.Errorf("%s; it listens to %d", got, len(r.lan.ears))
		}
	})

	story(t, "who gets the right back when the successor was heard a moment ago has not passed it on", func(t *testing.T) {
		r := newRig(t, nil)
		w := passing(r)
		r.lan.ears[w.Key()] <- agent.Announced
		time.Sleep(20 * time.Millisecond)
		w.Quiet, w.Passing = false, false
		r.apply("a", w)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if len(r.passed) > 0 {
			t.Error("passed on all the same")
		}
		r.expect("wire +192.0.2.1")
		if len(r.lan.ears) != 0 {
			t.Error("it still listens")
		}
	})

	story(t, "who ends listens no more", func(t *testing.T) {
		r := newRig(t, nil)
		passing(r)
		r.stop()
		if len(r.lan.ears) != 0 {
			t.Error("it still listens")
		}
		if err := r.Await(t.Context(), r.Set("a", want("192.0.2.2"))); err == nil {
			t.Error("nobody makes that true any more")
		}
	})

	story(t, "where two may announce, what is passed on stays announced, as leaving, until the right ends", func(t *testing.T) {
		r := newRig(t, func(c *agent.HolderConfig, _ *rig) { c.Overlap, c.Listener = true, nil })
		w := want("192.0.2.1", "192.0.2.2", "192.0.2.3")
		w[2].Detached = true
		r.apply("a", w...)
		r.journal.take()
		w[0].Quiet, w[0].Passing = true, true
		w[1].Quiet = true // preserved, not passed
		w[2].Quiet, w[2].Passing = true, true
		r.apply("a", w...)
		r.expect("wire marks 192.0.2.1", "wire marks 192.0.2.3", "wire -192.0.2.2")
		r.apply("a")
		r.expect("wire -192.0.2.1", "wire -192.0.2.3", "kernel -192.0.2.1", "kernel -192.0.2.2")
	})

	story(t, "detached addresses are announced without the kernel", func(t *testing.T) {
		r := newRig(t, nil)
		w := want("192.0.2.1")
		w[0].Detached = true
		r.apply("a", w...)
		r.apply("a")
		r.expect("wire +192.0.2.1", "wire -192.0.2.1")
	})

	story(t, "whoever follows is told of each change once, sorted, and when it was", func(t *testing.T) {
		var told []string
		r := newRig(t, func(c *agent.HolderConfig, _ *rig) {
			c.Changed = func(s []agent.State) {
				told = append(told, text(s))
				for _, s := range s {
					if since := time.Since(s.Since); since > 0 {
						t.Errorf("told of %s after %v", text([]agent.State{s}), since)
					}
				}
			}
		})
		began := time.Now()
		w := want("192.0.2.5", "192.0.2.3", "192.0.2.1", "192.0.2.4", "192.0.2.2")
		r.apply("a", w...)
		time.Sleep(time.Second)
		w[1].Quiet = true
		r.apply("a", w...)
		for _, s := range r.States() {
			if quiet := s.Phase == agent.Quiet; s.Since.After(began) != quiet {
				t.Errorf("%s for %v", text([]agent.State{s}), time.Since(s.Since))
			}
		}
		time.Sleep(time.Second)
		r.apply("a")
		if d := cmp.Diff([]string{
			"192.0.2.1 held; 192.0.2.2 held; 192.0.2.3 held; 192.0.2.4 held; 192.0.2.5 held", "192.0.2.3 quiet",
			"192.0.2.1 released; 192.0.2.2 released; 192.0.2.3 released; 192.0.2.4 released; 192.0.2.5 released",
		}, told); d != "" {
			t.Error(d)
		}
	})

	story(t, "detached addresses do not suffer with the kernel's", func(t *testing.T) {
		r := newRig(t, nil)
		r.kernel.breaks(errors.New("no memory"))
		w := want("192.0.2.1", "192.0.2.2", "192.0.2.3")
		w[0].Detached, w[1].Detached = true, true
		r.apply("a", w...)
		r.expect("kernel fails", "wire +192.0.2.1", "wire +192.0.2.2")
		if got, want := text(r.States()), "192.0.2.1 held; 192.0.2.2 held; 192.0.2.3 failed: no memory"; got != want {
			t.Errorf("got %q, want %q", got, want)
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
		r.apply("b", want("192.0.2.3")...)
		if r.kernel.sweeps != 1 {
			t.Errorf("swept %d times", r.kernel.sweeps)
		}
	})
	story(t, "what is taken first changes nothing for what a former run left", func(t *testing.T) {
		r := newRig(t, func(_ *agent.HolderConfig, r *rig) { left(r) })
		r.apply("a", want("192.0.2.3")...)
		r.apply("a", append(want("192.0.2.3"), agent.Want{Address: addr("192.0.2.1")})...)
		r.expect("kernel +192.0.2.3", "wire +192.0.2.3", "kernel +192.0.2.1", "wire +192.0.2.1")
		w := want("192.0.2.3")
		w[0].Quiet, w[0].Kept = true, true
		r.apply("a", w...)
		r.expect("wire -192.0.2.1", "wire -192.0.2.3", "kernel -192.0.2.1") // the third stays
	})
	story(t, "what a former run left and is gone is asked for before it is taken again", func(t *testing.T) {
		for _, goes := range []func(*rig){
			func(r *rig) { r.apply("b") },                                    // swept
			func(r *rig) { r.kernel.change(func(k *room) { k.left = nil }) }, // at the end of its lifetime
		} {
			r := newRig(t, func(_ *agent.HolderConfig, r *rig) { left(r) })
			r.apply("a")
			goes(r)
			r.apply("a", agent.Want{Address: addr("192.0.2.1")})
			if got, want := text(r.States()), "192.0.2.1 probing"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
	story(t, "what can't be swept is swept later", func(t *testing.T) {
		r := newRig(t, func(_ *agent.HolderConfig, r *rig) {
			left(r)
			r.kernel.unswept = errors.New("no memory")
		})
		r.apply("a")
		r.apply("b")
		time.Sleep(2 * time.Second)
		r.expect()
		r.kernel.change(func(k *room) { k.unswept = nil })
		time.Sleep(1100 * time.Millisecond)
		r.expect("kernel swept 192.0.2.1", "kernel swept 192.0.2.2")
	})
	story(t, "nothing is swept while a source is silent", func(t *testing.T) {
		r := newRig(t, func(_ *agent.HolderConfig, r *rig) { left(r) })
		r.apply("a")
		time.Sleep(time.Hour)
		r.expect()
	})
}
