// Package faults_test breaks a real cluster of three nodes in the ways that clusters break, and asserts by an observer on the LAN who answered
// for an address and when, and by a client how long it went unanswered. It prints the table of docs/reliability.md: a few lines with every
// test, all of them with DAYMARK_FAULTS=1.
package faults_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
	"daymark/test/wrongclock"
)

func TestMain(m *testing.M) {
	if code, asked := wrongclock.Main(); asked {
		os.Exit(code)
	}
	os.Exit(netns.RunTests(m))
}

func TestFaults(t *testing.T) {
	b, tb := newBed(t), &table{}
	defer tb.print(t)
	v4, v6 := b.LAN.Addr(100), b.LAN.Addr6(100)
	b.run(t, []netip.Addr{v4})
	t.Run("control plane", func(t *testing.T) { b.crashes(t, tb) })
	t.Run("all", func(t *testing.T) {
		require.Asked(t, "DAYMARK_FAULTS", "make faults")
		tb.strict = true
		b.pulse.patience = 12 * time.Minute // the rest takes nine, and the command is given half an hour
		t.Run("control plane, more", func(t *testing.T) { b.moreCrashes(t, tb) })
		t.Run("control plane, planned", func(t *testing.T) { b.planned(t, tb) })
		t.Run("control plane, race", func(t *testing.T) { b.race(t, tb) })
		t.Run("control plane, API", func(t *testing.T) { b.apiFaults(t, tb) })
		t.Run("control plane, clock", func(t *testing.T) { b.clockFaults(t, tb) })
		t.Run("control plane, others", func(t *testing.T) { b.strangeFaults(t, tb) })
		t.Run("families", func(t *testing.T) { b.families(t, tb, v4, v6) })
		t.Run("Services under one lease", func(t *testing.T) { b.underOneLease(t, tb) })
		t.Run("Services", func(t *testing.T) { b.services(t, tb) })
	})
}

// stopped is a fault: SIGTERM to the agent of a node.
func (b *bed) stopped(t *testing.T, n *controlplane.Node) func() error {
	return func() error { return b.agents[n.Name()].Stop(t.Context()) }
}

// crashes are what happens to a node or to its agent, as far as every test run has time for it.
func (b *bed) crashes(t *testing.T, tb *table) {
	tb.heading("control plane, one address, IPv4")
	t.Run("SIGTERM of the holder", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, b.stopped(t, holder), b.moved(holder))
		tb.check(t, "SIGTERM of the holder", s, handover)
		b.start(t, holder)
	})
	t.Run("SIGKILL of the holder", func(t *testing.T) {
		holder := b.settle(t)
		gone := make(chan time.Time, 1)
		go func() {
			_ = holder.WaitNoAddr(t.Context(), b.vips[0]) // moved tells
			gone <- time.Now()
		}()
		s := b.suffer(t, b.agents[holder.Name()].Kill, b.moved(holder))
		tb.check(t, "SIGKILL of the holder", s, dies)
		if kept := (<-gone).Sub(s.began); kept > leaseDuration+slack {
			t.Errorf("its kernel kept the address for %v, longer than the lease", kept)
		}
		b.start(t, holder)
	})
}

// silent waits until all is calm, and fails the test when the former holder had a word to say since then.
func (b *bed) silent(t *testing.T, former *controlplane.Node, since time.Time) {
	t.Helper()
	if b.settle(t) == former {
		t.Errorf("%s has the VIP again", former.Name())
	}
	for _, vip := range b.vips {
		if said := b.LAN.Observer().Answers(vip, since).By(former.Name()); len(said) > 0 {
			t.Errorf("%s spoke when it was back: %s", former.Name(), said)
		}
	}
}

// blockAPI cuts a node's agent off from every API server, its own included, until it is mended.
func (b *bed) blockAPI(ctx context.Context, n *controlplane.Node) (mend func(context.Context) error, err error) {
	return n.Block(ctx, netns.Path{Protocol: "tcp", Port: controlplane.APIPort, Local: true})
}

// cutAPI is blockAPI until the test ends.
func (b *bed) cutAPI(t *testing.T, n *controlplane.Node) error {
	mend, err := b.blockAPI(t.Context(), n)
	if err == nil {
		t.Cleanup(func() {
			if err := mend(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	return err
}

// moreCrashes are the others.
func (b *bed) moreCrashes(t *testing.T, tb *table) {
	t.Run("SIGSTOP and SIGCONT of the holder", func(t *testing.T) {
		holder := b.settle(t)
		agent := b.agents[holder.Name()]
		s := b.suffer(t, func() error { return agent.Signal(syscall.SIGSTOP) }, b.moved(holder))
		tb.check(t, "SIGSTOP of the holder", s, dies)
		woken := time.Now()
		require.NoError(t, agent.Signal(syscall.SIGCONT))
		b.silent(t, holder, woken)
	})
	t.Run("API path of the holder cut", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, func() error { return b.cutAPI(t, holder) }, b.moved(holder))
		tb.check(t, "API path of the holder cut", s, cutOff)
		b.alive(t)
	})
	t.Run("cable of the holder cut, and mended", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, holder.Cut, b.moved(holder))
		tb.check(t, "cable of the holder cut", s, pulled)
		mended := time.Now()
		require.NoError(t, holder.Mend())
		b.silent(t, holder, mended)
	})
	t.Run("both agents that wait are started at once", func(t *testing.T) {
		holder := b.settle(t)
		var stops []error
		for _, n := range b.others(holder) {
			stops = append(stops, b.agents[n.Name()].Kill())
		}
		require.NoError(t, errors.Join(stops...))
		s := b.suffer(t, func() error {
			for _, n := range b.others(holder) {
				b.start(t, n)
			}
			return nil
		}, after(2*retryPeriod))
		tb.check(t, "two agents started at once beside the holder", s, bounds{silence: slack})
		if after := b.settle(t); after != holder {
			t.Errorf("the VIP went from %s to %s", holder.Name(), after.Name())
		}
	})
}

// planned are the hand-overs: what is meant to happen.
func (b *bed) planned(t *testing.T, tb *table) {
	t.Run("kubectl delete pod", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, func() error {
			err := b.agents[holder.Name()].Stop(t.Context())
			b.start(t, holder) // as a DaemonSet's next pod, when the old one has ended
			return err
		}, after(2*retryPeriod))
		tb.check(t, "kubectl delete pod of the holder: SIGTERM, and the next one started", s, handover)
	})
	t.Run("node cordoned", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, func() error { return b.cordon(t, holder, true) }, b.moved(holder))
		tb.check(t, "holder's node cordoned", s, handover)
		s = b.suffer(t, b.stopped(t, holder), after(2*retryPeriod))
		tb.check(t, "and drained: SIGTERM of its agent", s, handover)
		require.NoError(t, b.cordon(t, holder, false))
		b.start(t, holder)
	})
}
