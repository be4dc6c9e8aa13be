package election_test

import (
	"testing"
	"time"

	"daymark/internal/election"
)

func TestAlways(t *testing.T) {
	story(t, "every claim that this node may hold is held without end, until the stop", func(w *world) {
		p := w.process("a", func(p *proc) election.Elector { return election.NewAlways("a", w.log) })
		p.start()
		time.Sleep(time.Hour)
		if p.applied() > 0 {
			w.t.Error("apply was called before Set: what a predecessor left was touched")
		}
		p.elector.Set([]election.Claim{{Name: "y"}, {Name: "x", Nodes: []string{"a", "b"}}, {Name: "z", Nodes: []string{"b"}}})
		time.Sleep(time.Millisecond)
		if got := p.held(); len(got) != 2 || got[0] != (election.Right{Claim: "x"}) || got[1] != (election.Right{Claim: "y"}) {
			w.t.Errorf("rights %v, want x and y without end", got)
		}
		p.shutdown()
		if got := p.held(); len(got) > 0 {
			w.t.Errorf("rights %v after the stop", got)
		}
	})
}

func TestHealthy(t *testing.T) {
	story(t, "without health nothing is held, and with it what was set last", func(w *world) {
		var h *election.Healthy
		p := w.process("a", func(p *proc) election.Elector {
			h = election.NewHealthy(election.NewAlways("a", w.log))
			return h
		})
		p.elector.Set([]election.Claim{{Name: "x"}})
		p.start()
		for _, step := range []struct {
			do   func()
			want int
		}{
			{func() {}, 1},
			{func() { h.SetHealthy(false) }, 0},
			{func() { p.elector.Set([]election.Claim{{Name: "x"}, {Name: "y"}}) }, 0},
			{func() { h.SetHealthy(true) }, 2},
		} {
			step.do()
			time.Sleep(time.Millisecond)
			if got := len(p.held()); got != step.want {
				w.t.Errorf("%d rights, want %d", got, step.want)
			}
		}
	})

	story(t, "a lease goes to another node when this one's health is lost", func(w *world) {
		stand := newPeers("a", "b")
		var h *election.Healthy
		w.process("a", func(p *proc) election.Elector {
			inner := leaseElector(w, p, stand)
			h = election.NewHealthy(inner)
			return h
		})
		a := w.procs[0]
		a.elector.Set([]election.Claim{{Name: "cp"}})
		a.start()
		time.Sleep(time.Second)
		b := leaseProc(w, "b", stand)
		b.start()
		time.Sleep(time.Second)
		h.SetHealthy(false)
		within(w.t, "the change", w.await(time.Second, "b holds", func() bool { return len(b.held()) == 1 && len(a.held()) == 0 }), 50*time.Millisecond)
	})
}
