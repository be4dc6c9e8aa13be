package election_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"daymark/internal/election"
)

const leaseName = "plndr-cp-lock"

// peers is a Peers whose candidates are told by the test's processes: a node stands while its process was not killed.
type peers struct {
	mu     sync.Mutex
	stands map[string]bool
	order  []string
	ghosts []election.Candidate // who is named first, and does not live

	processes int
	self      map[string]string // the incarnation of each node's newest process
}

func newPeers(order ...string) *peers {
	return &peers{stands: map[string]bool{}, order: order, self: map[string]string{}}
}

// of is what a new process of node sees.
func (p *peers) of(node string) election.Peers {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.processes++
	self := fmt.Sprintf("boot.%s/%d", node, p.processes)
	p.self[node] = self
	return peersOf{p, node, self}
}

type peersOf struct {
	all        *peers
	node, self string
}

func (p peersOf) Incarnation() string { return p.self }

func (p peersOf) Stand(_ string, candidate bool) {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.all.stands[p.node] = candidate
}

func (p peersOf) Candidates(string) []election.Candidate {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	out := slices.Clone(p.all.ghosts)
	for _, node := range p.all.order {
		if node != p.node && p.all.stands[node] {
			out = append(out, election.Candidate{Node: node, Incarnation: p.all.self[node]})
		}
	}
	return out
}

func leaseProc(w *world, name string, peers *peers) *proc {
	return w.process(name, func(p *proc) election.Elector {
		l := leaseElector(w, p, peers)
		l.Set([]election.Claim{{Name: "cp"}})
		return l
	})
}

// holderAndNext returns a, which holds; b has waited for it that long.
func holderAndNext(w *world, waited time.Duration) *proc {
	peers := newPeers("a", "b")
	a, b := leaseProc(w, "a", peers), leaseProc(w, "b", peers)
	a.start()
	time.Sleep(time.Second)
	b.start()
	time.Sleep(waited)
	return a
}

func leaseElector(w *world, p *proc, peers *peers) *election.Lease {
	cfg := election.LeaseConfig{Config: p.config(), Name: leaseName, Annotations: map[string]string{"team": "net"}}
	if peers != nil {
		cfg.Peers = peers.of(p.name)
	}
	l, err := election.NewLease(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func within(t *testing.T, what string, got, most time.Duration) {
	t.Helper()
	if got > most {
		t.Errorf("%s took %v, want at most %v", what, got, most)
	}
}

func TestLease(t *testing.T) {
	story(t, "one of three is elected, and renews each retry period", func(w *world) {
		for _, n := range []string{"a", "b", "c"} {
			leaseProc(w, n, nil).start()
		}
		took := w.await(time.Second, "a holder", func() bool { return len(w.holders("cp")) == 1 })
		within(w.t, "the first election", took, 100*time.Millisecond)
		w.holder("cp")
		time.Sleep(2 * time.Second)
		before := w.api.count()
		time.Sleep(60 * time.Second)
		if n := w.api.count() - before; n < 55 || n > 65 {
			w.t.Errorf("%d requests in 60 s at rest, want about 60: the holder's renewals and nothing else", n)
		}
		lease, _ := w.api.get("kube-system", leaseName)
		if *lease.Spec.LeaseDurationSeconds != 5 || *lease.Spec.LeaseTransitions != 0 || lease.Annotations["team"] != "net" {
			w.t.Errorf("lease is %+v", lease)
		}
	})

	story(t, "a killed holder's lease is taken over when it has run out", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(time.Second)
		leaseProc(w, "b", nil).start()
		time.Sleep(3500 * time.Millisecond)
		a.kill()
		took := w.await(10*time.Second, "b holds", func() bool { return slices.Contains(w.holders("cp"), "b") })
		within(w.t, "the take-over", took, 5100*time.Millisecond)
		if took < 4*time.Second {
			w.t.Errorf("the take-over took %v: less than the lease", took)
		}
		if r := w.procs[1].held(); len(r) != 1 || !r[0].Failover {
			w.t.Errorf("rights of b: %v, want one that is marked as failover", r)
		}
	})

	story(t, "a frozen holder has nothing when it wakes", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(time.Second)
		leaseProc(w, "b", nil).start()
		time.Sleep(time.Second)
		a.freeze()
		time.Sleep(20 * time.Second)
		if got := w.holder("cp").name; got != "b" {
			w.t.Errorf("%s holds, want b", got)
		}
		a.cont()
		time.Sleep(time.Second)
		if len(a.held()) > 0 || w.holder("cp").name != "b" {
			w.t.Errorf("a has %v after it woke, and %v hold", a.held(), w.holders("cp"))
		}
	})

	story(t, "a holder that is cut off withdraws by the renew deadline, before the other one holds", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(time.Second)
		leaseProc(w, "b", nil).start()
		time.Sleep(3500 * time.Millisecond)
		a.path.cut()
		took := w.await(4*time.Second, "a has withdrawn", func() bool { return len(w.holders("cp")) == 0 })
		within(w.t, "withdrawing", took, 3010*time.Millisecond)
		w.await(4*time.Second, "b holds", func() bool { return len(w.holders("cp")) == 1 })
		a.path.mend()
		time.Sleep(10 * time.Second)
		if got := w.holder("cp").name; got != "b" {
			w.t.Errorf("%s holds, want b", got)
		}
	})

	story(t, "when the API server comes back work goes on", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		b.start()
		time.Sleep(3 * time.Second)
		for _, away := range []func(*path){(*path).cut, func(p *path) { p.setRefuse(errors.New("connection refused")) }} {
			away(a.path)
			away(b.path)
			a.path.breakWatches()
			b.path.breakWatches()
			time.Sleep(30 * time.Second)
			if h := w.holders("cp"); len(h) != 0 {
				w.t.Errorf("held by %v without an API server", h)
			}
			a.path.mend()
			b.path.mend()
			a.path.setRefuse(nil)
			b.path.setRefuse(nil)
			took := w.await(10*time.Second, "a holder", func() bool { return len(w.holders("cp")) == 1 })
			within(w.t, "going on", took, 2*time.Second)
		}
	})

	story(t, "an API server that is away for less than the renew deadline changes nothing", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		leaseProc(w, "b", nil).start()
		time.Sleep(3 * time.Second)
		was := w.holder("cp").name
		for _, p := range w.procs {
			p.path.setRefuse(errors.New("connection refused"))
			p.path.breakWatches()
		}
		time.Sleep(1900 * time.Millisecond)
		for _, p := range w.procs {
			p.path.setRefuse(nil)
		}
		time.Sleep(10 * time.Second)
		if got := w.holder("cp").name; got != was || w.longest("cp") > 0 {
			w.t.Errorf("%s holds, was %s; nobody held for %v", got, was, w.longest("cp"))
		}
	})

	story(t, "a connection that hangs is given up for another", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(2500 * time.Millisecond)
		a.path.loseWrites(1)
		time.Sleep(20 * time.Second)
		if w.longest("cp") > 0 {
			w.t.Errorf("nobody held for %v", w.longest("cp"))
		}
	})

	story(t, "without a successor the lease is released after everything is removed", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(2 * time.Second)
		w.hook(func(p *proc, rights []election.Right) error {
			time.Sleep(300 * time.Millisecond)
			if l, _ := w.api.get("kube-system", leaseName); p == a && *l.Spec.HolderIdentity == "" {
				return fmt.Errorf("released before %v was applied", rights)
			}
			return nil
		})
		a.shutdown()
		lease, _ := w.api.get("kube-system", leaseName)
		if *lease.Spec.HolderIdentity != "" || *lease.Spec.LeaseDurationSeconds != 1 {
			w.fail("lease after the stop: %+v", lease.Spec)
		}
		w.hook(nil)
		b := leaseProc(w, "b", nil)
		b.start()
		within(w.t, "taking a released lease", w.await(time.Second, "b holds", func() bool { return len(b.held()) == 1 }), 100*time.Millisecond)
		lease, _ = w.api.get("kube-system", leaseName)
		if *lease.Spec.LeaseTransitions != 1 {
			w.t.Errorf("%d transitions, want 1", *lease.Spec.LeaseTransitions)
		}
	})

	story(t, "a released lease is taken at once by who watches", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		time.Sleep(time.Second)
		b.start()
		time.Sleep(2 * time.Second)
		a.shutdown()
		within(w.t, "taking it", w.await(time.Second, "b holds", func() bool { return len(b.held()) == 1 }), 100*time.Millisecond)
	})

	story(t, "a lease is passed without a gap, and the old holder lets go when it hears the new one", func(w *world) {
		a := holderAndNext(w, 2*time.Second)
		a.stop()
		w.await(time.Second, "both answer", func() bool { return slices.Equal(w.holders("cp"), []string{"a*", "b"}) })
		if got := time.Until(a.held()[0].Until); got > 2*time.Second || got < 1900*time.Millisecond {
			w.t.Errorf("the passed right lasts %v, want 2 s", got)
		}
		a.elector.Heard("cp")
		within(w.t, "ending", w.await(time.Second, "a has ended", func() bool {
			select {
			case <-a.done:
				return true
			default:
				return false
			}
		}), 20*time.Millisecond)
		if w.longest("cp") > 0 {
			w.t.Errorf("nobody held for %v", w.longest("cp"))
		}
		lease, _ := w.api.get("kube-system", leaseName)
		if *lease.Spec.HolderIdentity != "b" || *lease.Spec.LeaseTransitions != 1 {
			w.t.Errorf("lease: %+v", lease.Spec)
		}
	})

	story(t, "a lease is passed only when nothing is announced any more", func(w *world) {
		a := holderAndNext(w, 2*time.Second)
		w.hook(func(p *proc, rights []election.Right) error {
			if p == a {
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		})
		a.shutdown()
		if !slices.Equal(w.holders("cp"), []string{"b"}) || w.longest("cp") > 0 {
			w.fail("held by %v; nobody held for %v", w.holders("cp"), w.longest("cp"))
		}
	})

	story(t, "a successor that is not heard is trusted after a second", func(w *world) {
		a := holderAndNext(w, 2*time.Second)
		began := time.Now()
		a.shutdown()
		if took := time.Since(began); took < 990*time.Millisecond || took > 1050*time.Millisecond {
			w.t.Errorf("a ended after %v, want a second", took)
		}
		if w.longest("cp") > 0 {
			w.t.Errorf("nobody held for %v", w.longest("cp"))
		}
	})

	story(t, "a successor that does not renew is passed over", func(w *world) {
		peers := newPeers("a", "b", "c")
		a, b, c := leaseProc(w, "a", peers), leaseProc(w, "b", peers), leaseProc(w, "c", peers)
		a.start()
		time.Sleep(time.Second)
		b.start()
		c.start()
		time.Sleep(2 * time.Second)
		b.kill()
		a.shutdown()
		if !slices.Equal(w.holders("cp"), []string{"c"}) || w.longest("cp") > 0 {
			w.fail("held by %v; nobody held for %v", w.holders("cp"), w.longest("cp"))
		}
	})

	story(t, "no successor renews: who only yields has the lease back before anybody misses it", func(w *world) {
		peers := newPeers("a", "b", "c")
		a, b, c := leaseProc(w, "a", peers), leaseProc(w, "b", peers), leaseProc(w, "c", peers)
		a.start()
		time.Sleep(time.Second)
		b.start()
		c.start()
		time.Sleep(2 * time.Second)
		b.path.cut()
		c.path.cut()
		a.elector.Yield()
		time.Sleep(20 * time.Second) // each is named again from time to time
		w.await(time.Second, "a holds", func() bool { return slices.Equal(w.holders("cp"), []string{"a"}) })
		b.path.mend()
		w.await(10*time.Second, "b holds", func() bool { return slices.Equal(w.holders("cp"), []string{"b"}) })
		if w.longest("cp") > 0 {
			w.fail("nobody held for %v", w.longest("cp"))
		}
	})

	story(t, "when no successor renews the lease is released, not left to the dead", func(w *world) {
		peers := newPeers("a")
		peers.ghosts = []election.Candidate{{Node: "x", Incarnation: "x/1"}, {Node: "y", Incarnation: "y/1"}}
		a := leaseProc(w, "a", peers)
		a.start()
		time.Sleep(2 * time.Second)
		a.shutdown()
		if lease, _ := w.api.get("kube-system", leaseName); *lease.Spec.HolderIdentity != "" {
			w.fail("the lease belongs to %q", *lease.Spec.HolderIdentity)
		}
	})

	story(t, "lost answers to the passing write do no harm", func(w *world) {
		a := holderAndNext(w, 2500*time.Millisecond)
		a.path.loseWrites(1)
		a.shutdown()
		if !slices.Equal(w.holders("cp"), []string{"b"}) || w.longest("cp") > 0 {
			w.fail("held by %v; nobody held for %v", w.holders("cp"), w.longest("cp"))
		}
	})

	story(t, "a holder that yields passes, and comes last until it resumes", func(w *world) {
		peers := newPeers("a", "b")
		a, b := leaseProc(w, "a", peers), leaseProc(w, "b", peers)
		a.start()
		time.Sleep(time.Second)
		a.elector.Yield() // nobody else is there: it stays
		time.Sleep(5 * time.Second)
		if w.holder("cp") != a {
			w.fail("a is not the holder")
		}
		b.start()
		w.await(2500*time.Millisecond, "b holds", func() bool { return slices.Equal(w.holders("cp"), []string{"b"}) })
		b.kill()
		took := w.await(10*time.Second, "a holds: better than nobody", func() bool { return slices.Equal(w.holders("cp"), []string{"a"}) })
		within(w.t, "the last resort", took, 7*time.Second)
		if w.longest("cp") > 3*time.Second {
			w.t.Errorf("nobody held for %v", w.longest("cp"))
		}
	})

	story(t, "a claim that is left out is dropped at once, and the lease passed when none is left", func(w *world) {
		peers := newPeers("a", "b")
		a, b := leaseProc(w, "a", peers), leaseProc(w, "b", peers)
		for _, p := range w.procs {
			p.elector.Set([]election.Claim{{Name: "cp"}, {Name: "other"}, {Name: "elsewhere", Nodes: []string{"z"}}})
		}
		a.start()
		time.Sleep(time.Second)
		b.start()
		time.Sleep(time.Second)
		if got := text(a.held(), time.Now()); len(a.held()) != 2 {
			w.t.Errorf("a has %s, want cp and other", got)
		}
		a.elector.Set([]election.Claim{{Name: "cp"}})
		time.Sleep(10 * time.Millisecond)
		if len(a.held()) != 1 {
			w.t.Errorf("a has %s, want cp alone", text(a.held(), time.Now()))
		}
		a.elector.Set(nil)
		time.Sleep(50 * time.Millisecond)
		if len(a.held()) != 0 || len(b.held()) != 2 {
			w.fail("a has %s, b has %s", text(a.held(), time.Now()), text(b.held(), time.Now()))
		}
	})

	story(t, "a lease that is deleted by hand stays with its holder", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		time.Sleep(time.Second)
		b.start()
		time.Sleep(2300 * time.Millisecond)
		w.api.delete("kube-system", leaseName)
		time.Sleep(10 * time.Second)
		if w.holder("cp") != a || w.longest("cp") > 0 {
			w.fail("held by %v", w.holders("cp"))
		}
		a.kill()
		time.Sleep(time.Second)
		w.api.delete("kube-system", leaseName)
		time.Sleep(10 * time.Second)
		if w.holder("cp") != b {
			w.fail("held by %v", w.holders("cp"))
		}
	})

	story(t, "a lease that is edited by hand is renewed all the same", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(2300 * time.Millisecond)
		w.api.edit("kube-system", leaseName, func(l *coordinationv1.Lease) { l.Annotations["note"] = "hello" })
		time.Sleep(10 * time.Second)
		lease, _ := w.api.get("kube-system", leaseName)
		if w.longest("cp") > 0 || lease.Annotations["note"] != "hello" {
			w.t.Errorf("nobody held for %v; annotations %v", w.longest("cp"), lease.Annotations)
		}
	})

	story(t, "a lease that is given to another by hand is lost at once", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(2300 * time.Millisecond)
		w.api.edit("kube-system", leaseName, func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "x" })
		time.Sleep(20 * time.Millisecond)
		if h := w.holders("cp"); len(h) > 0 {
			w.t.Errorf("held by %v", h)
		}
	})

	story(t, "watches that break, expire or go quiet lose nothing", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		time.Sleep(time.Second)
		b.start()
		time.Sleep(2300 * time.Millisecond)
		for range 5 {
			w.api.compact()
			a.path.breakWatches()
			b.path.breakWatches()
			time.Sleep(3 * time.Second)
		}
		b.path.stall()
		time.Sleep(20 * time.Second)
		if w.holder("cp") != a || w.longest("cp") > 0 {
			w.fail("held by %v", w.holders("cp"))
		}
	})

	story(t, "a restarted process goes on where its predecessor on the same host was killed", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "b", nil)
		a.start()
		time.Sleep(time.Second)
		b.start()
		time.Sleep(2300 * time.Millisecond)
		a.kill()
		time.Sleep(2 * time.Second)
		again := leaseProc(w, "a", nil)
		again.start()
		took := w.await(time.Second, "the new process holds", func() bool { return len(again.held()) == 1 })
		within(w.t, "adopting", took, 100*time.Millisecond)
		if again.applied() != 1 {
			w.t.Errorf("apply was called %d times before: what the predecessor left was touched", again.applied()-1)
		}
		time.Sleep(2 * time.Second)
		a.cont()
		time.Sleep(20 * time.Second)
		w.forgive() // the frozen predecessor's right and its heir's are one kernel's
		if len(a.held()) > 0 || len(again.held()) != 1 {
			w.fail("the predecessor has %v, its heir %v", a.held(), again.held())
		}
	})

	story(t, "two hosts with one name: one holds, the other waits for its end", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(2 * time.Second)
		twin := w.process("a", func(p *proc) election.Elector {
			cfg := p.config()
			cfg.Host = "boot.other"
			l, err := election.NewLease(election.LeaseConfig{Config: cfg, Name: leaseName})
			if err != nil {
				w.t.Fatal(err)
			}
			l.Set([]election.Claim{{Name: "cp"}})
			return l
		})
		twin.start()
		time.Sleep(20 * time.Second)
		if len(a.held()) != 1 || len(twin.held()) != 0 {
			w.fail("a has %v, its twin %v", a.held(), twin.held())
		}
		a.kill()
		within(w.t, "the twin's take-over", w.await(10*time.Second, "the twin holds", func() bool { return len(twin.held()) == 1 }), 6*time.Second)
	})

	story(t, "two processes on one host with one name: one holds for good", func(w *world) {
		a, b := leaseProc(w, "a", nil), leaseProc(w, "a", nil)
		a.start()
		b.start()
		time.Sleep(5 * time.Second)
		lease, _ := w.api.get("kube-system", leaseName)
		before := *lease.Spec.AcquireTime
		time.Sleep(30 * time.Second)
		lease, _ = w.api.get("kube-system", leaseName)
		if !lease.Spec.AcquireTime.Equal(&before) {
			w.t.Errorf("the lease changed hands again")
		}
		if len(a.held())+len(b.held()) != 1 {
			w.t.Errorf("a has %v, b has %v", a.held(), b.held())
		}
		w.forgive()
	})

	story(t, "when Apply fails at the stop the lease is not released", func(w *world) {
		a := leaseProc(w, "a", nil)
		a.start()
		time.Sleep(2 * time.Second)
		w.hook(func(p *proc, rights []election.Right) error {
			if p == a && len(rights) == 0 {
				return errors.New("netlink")
			}
			return nil
		})
		began := time.Now()
		a.shutdown()
		within(w.t, "stopping", time.Since(began), 5*time.Second+time.Millisecond)
		if lease, _ := w.api.get("kube-system", leaseName); *lease.Spec.HolderIdentity != "a" {
			w.t.Errorf("released, though the address is still in the kernel")
		}
	})

	story(t, "a slow Apply delays no renewal", func(w *world) {
		a := leaseProc(w, "a", nil)
		w.hook(func(p *proc, rights []election.Right) error { time.Sleep(3 * time.Second); return nil })
		a.start()
		leaseProc(w, "b", nil).start()
		time.Sleep(40 * time.Second)
		if lease, _ := w.api.get("kube-system", leaseName); *lease.Spec.LeaseTransitions != 0 {
			w.t.Errorf("the lease changed hands %d times", *lease.Spec.LeaseTransitions)
		}
	})
}

func TestNewLeaseNamesEveryFault(t *testing.T) {
	_, err := election.NewLease(election.LeaseConfig{Name: "Not A Name"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"retry period", "renew deadline", "lease duration", "namespace", "identity", "client", "Not A Name"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}
