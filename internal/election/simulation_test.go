package election_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/election"
)

var (
	seeds     = flag.Int("seeds", 20, "how many random histories each simulation plays")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
)

// fate plays a random history on a world: processes start, stop, are killed, freeze and go on; paths are cut and mended, slow
// down, lose answers, and stall or break watches; leases' holders yield. Nothing of it may ever lead to two holders. When
// it has ended and everything was mended, each claim must have one holder soon.
type fate struct {
	w     *world
	rng   *rand.Rand
	luck  *rand.Rand // of Apply, under world.mu
	names []string
	alive map[string]*proc
	make  func(name string) *proc
	churn func(p *proc) // changes what p stands for
}

func (f *fate) note(format string, args ...any) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.note("--- "+format, args...)
}

func (f *fate) start(name string) {
	f.w.sole = true // a predecessor that still runs holds the lock of the host
	p := f.make(name)
	f.alive[name] = p
	f.slow(p)
	p.start()
}

// slow gives p a path of its own character.
func (f *fate) slow(p *proc) {
	most := []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second}[f.rng.IntN(4)]
	seed := f.rng.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	p.path.setDelay(func() time.Duration { return time.Duration(rng.Int64N(int64(most))) })
}

func (f *fate) act() {
	name := f.names[f.rng.IntN(len(f.names))]
	p := f.alive[name]
	if p == nil {
		f.note("start %s", name)
		f.start(name)
		return
	}
	switch f.rng.IntN(16) {
	case 0:
		f.note("cut %s", name)
		p.path.cut()
	case 1, 2:
		f.note("mend %s", name)
		p.cont()
		p.path.unstall()
		p.path.setRefuse(nil)
	case 3:
		f.note("freeze %s", name)
		p.freeze()
	case 4:
		f.note("slow %s", name)
		f.slow(p)
	case 5:
		f.note("lose answers of %s", name)
		p.path.loseAnswers(1 + f.rng.IntN(3))
	case 6:
		f.note("stall watch of %s", name)
		p.path.stall()
	case 7:
		f.note("break watches of %s", name)
		p.path.breakWatches()
	case 8:
		f.note("refuse %s", name)
		p.path.setRefuse(errors.New("refused"))
	case 9:
		f.note("kill %s", name)
		p.kill()
		delete(f.alive, name)
		if f.rng.IntN(2) == 0 {
			f.start(name)
		}
	case 10:
		f.note("stop %s", name)
		p.stop()
		delete(f.alive, name)
	case 11:
		f.note("yield %s", name)
		p.elector.Yield()
	case 12:
		f.note("resume %s", name)
		p.elector.Resume()
	case 14, 15:
		d := time.Duration(f.rng.Int64N(int64(9 * time.Second)))
		f.note("pause %s for %v: what it is sent waits in its buffers", name, d)
		p.pause()
		time.Sleep(d)
		p.unpause()
	case 13:
		f.note("churn %s", name)
		f.churn(p)
	}
}

// apply takes its time, now and then a lot of it, and fails.
func (f *fate) apply(*proc, []election.Right) error {
	f.w.mu.Lock()
	d, fails := time.Duration(f.luck.Int64N(int64(30*time.Millisecond))), f.luck.IntN(20) == 0
	if f.luck.IntN(50) == 0 {
		d *= 200
	}
	f.w.mu.Unlock()
	time.Sleep(d)
	if fails {
		return errors.New("netlink")
	}
	return nil
}

// play plays the history of one seed.
func (f *fate) play(length time.Duration) {
	end := time.Now().Add(length)
	for _, name := range f.names {
		if f.rng.IntN(4) > 0 {
			f.start(name)
		}
	}
	for time.Now().Before(end) {
		time.Sleep(time.Duration(f.rng.Int64N(int64(3 * time.Second))))
		f.act()
		f.w.check()
	}
	f.note("peace")
	for _, p := range f.alive {
		p.cont()
		p.path.setRefuse(nil)
		p.path.loseAnswers(0)
		p.path.breakWatches()
		p.path.setDelay(nil)
		p.elector.Resume()
	}
	for _, name := range f.names {
		if f.alive[name] == nil {
			f.start(name)
			f.alive[name].path.setDelay(nil)
		}
	}
}

func simulate(t *testing.T, name string, play func(t *testing.T, w *world, rng *rand.Rand)) {
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprintf("%s %d", name, seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.end()
				play(t, w, rand.New(rand.NewPCG(seed, 0)))
				w.check()
			})
		})
	}
}

func TestSimulatedMembers(t *testing.T) {
	simulateMembers(t, func(*rand.Rand) bool { return false })
}

// TestSimulatedVersions has some of the processes be of a later version, whose records the others can't read.
func TestSimulatedVersions(t *testing.T) {
	simulateMembers(t, func(rng *rand.Rand) bool { return rng.IntN(3) == 0 })
}

func simulateMembers(t *testing.T, newer func(*rand.Rand) bool) {
	simulate(t, "seed", func(t *testing.T, w *world, rng *rand.Rand) {
		version := rand.New(rand.NewPCG(0, 3))
		all := claims(12)
		f := &fate{w: w, rng: rng, luck: rand.New(rand.NewPCG(rng.Uint64(), 2)), names: []string{"a", "b", "c", "d"}[:2+rng.IntN(3)], alive: map[string]*proc{}}
		view := func() []election.Claim { // what one node knows of them just now
			var out []election.Claim
			for i, c := range all {
				if i > 0 && rng.IntN(8) == 0 && len(out) > 0 { // and of what belongs together
					out[len(out)-1] = together(out[len(out)-1], c)
					continue
				}
				switch rng.IntN(12) {
				case 0:
					continue
				case 1:
					c.Nodes = []string{f.names[rng.IntN(len(f.names))]}
				case 2, 3:
					c.Yields = true
				case 4:
					c.Abstains = rng.IntN(2) == 0
				}
				out = append(out, c)
			}
			return out
		}
		f.make = func(name string) *proc {
			p := memberProc(w, name)
			p.path.newer = newer(version)
			p.elector.Set(view())
			return p
		}
		f.churn = func(p *proc) { p.elector.Set(view()) }
		w.hook(f.apply)
		f.play(90 * time.Second)
		w.hook(nil)
		for _, p := range f.alive {
			mine := slices.Clone(all)
			for i := range mine {
				mine[i].Yields = rng.IntN(3) == 0 // of a few claims all nodes do
			}
			p.elector.Set(mine)
		}
		took := w.await(20*time.Second, "every claim held", func() bool { return w.allHeld(all) })
		time.Sleep(15 * time.Second) // a process that can't know its predecessor's end waits for it
		if !w.allHeld(all) {
			w.fail("not every claim is held in peace")
		}
		before := w.placed()
		writes := w.api.count()
		time.Sleep(20 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 {
			w.fail("%d claims moved in peace", n)
		}
		if n, most := w.api.count()-writes, 20*len(f.names)+10; n > most {
			w.fail("%d requests in 20 s of peace, want at most %d", n, most)
		}
		t.Logf("peace after %v", took)
	})
}

func TestSimulatedLease(t *testing.T) {
	simulate(t, "seed", func(t *testing.T, w *world, rng *rand.Rand) {
		f := &fate{w: w, rng: rng, luck: rand.New(rand.NewPCG(rng.Uint64(), 2)), names: []string{"a", "b", "c"}, alive: map[string]*proc{}}
		stand := newPeers(f.names...)
		f.make = func(name string) *proc {
			if rng.IntN(3) == 0 {
				return leaseProc(w, name, nil)
			}
			return leaseProc(w, name, stand)
		}
		f.churn = func(p *proc) {
			p.elector.Set([]election.Claim{{Name: "cp"}, {Name: "other"}}[:rng.IntN(3)])
		}
		w.hook(f.apply)
		f.play(90 * time.Second)
		w.hook(nil)
		for _, p := range f.alive {
			p.elector.Set([]election.Claim{{Name: "cp"}})
		}
		one := func() bool { h := w.holders("cp"); return len(h) == 1 && !strings.HasSuffix(h[0], "*") }
		w.await(20*time.Second, "the lease held", one)
		time.Sleep(15 * time.Second)
		before := w.holders("cp")
		time.Sleep(20 * time.Second)
		if after := w.holders("cp"); len(after) != 1 || !slices.Equal(before, after) {
			w.fail("held by %v, then by %v, in peace", before, after)
		}
	})
}
