// Package faults_test breaks a real cluster of three nodes in the ways that clusters break, and asserts by an observer on the LAN who answered
// for the control plane's VIP and when, and by a client how long it went unanswered. It prints the table of docs/reliability.md.
package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/programs"
	"daymark/test/require"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }

const (
	leaseDuration = 5 * time.Second
	retryPeriod   = time.Second
	// slack is what a shared machine with 2 cores may take for what takes no time on an idle one.
	slack    = time.Second
	asking   = 20 * time.Millisecond // period of the observer's questions
	echoPort = 7                     // where each node answers with its name
)

// bed is a cluster whose three nodes run the agent for the control plane's VIP.
type bed struct {
	*controlplane.Bed
	t       *testing.T
	program string
	vip     netip.Addr
	agents  map[string]*netns.Command
}

func newBed(t *testing.T) *bed {
	b := &bed{Bed: controlplane.StartBed(t, "node-1", "node-2", "node-3"), t: t, agents: map[string]*netns.Command{}}
	b.vip = b.Endpoint()
	b.program = require.Value(programs.BuildProduct(t.Context(), t.TempDir(), t.Output()))(t).VIP
	for _, n := range b.Nodes() {
		_, err := n.Echo("tcp", fmt.Sprintf("0.0.0.0:%d", echoPort))
		require.NoError(t, err)
		b.start(n)
	}
	b.settle()
	return b
}

// start starts the agent as its static pod's manifest says.
func (b *bed) start(n *controlplane.Node) {
	b.t.Helper()
	manifest := require.Value(n.Run(b.t.Context(), b.program, "manifest", "pod", "--controlplane", "--arp", "--leaderElection",
		"--interface", "eth0", "--address", b.vip.String()))(b.t)
	b.agents[n.Name()] = require.Value(n.RunManifest(manifest, controlplane.Run{Program: b.program}))(b.t)
}

// settle waits until exactly one node has the VIP, and returns it, and the others know of each other: two periods of renewal.
func (b *bed) settle() *controlplane.Node {
	b.t.Helper()
	p := netns.StartProber(netns.Probe{From: b.Client, Network: "tcp", To: netip.AddrPortFrom(b.vip, echoPort)})
	defer p.Stop()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	first := require.Value(p.Wait(ctx, time.Now(), nil))(b.t)
	require.Value(p.Wait(ctx, first.At.Add(2*retryPeriod+slack), nil))(b.t)
	holders := b.holders()
	if len(holders) != 1 {
		b.t.Fatalf("the VIP is on %d nodes", len(holders))
	}
	return holders[0]
}

func (b *bed) holders() (out []*controlplane.Node) {
	b.t.Helper()
	for _, n := range b.Nodes() {
		if require.Value(n.Has(b.vip))(b.t) {
			out = append(out, n)
		}
	}
	return out
}

// seen is what came of a fault.
type seen struct {
	outage  netns.Outage
	history netns.History
	gone    time.Duration // until the old holder's kernel had the address no more
}

// suffer plays a fault of the holder and watches until another node answers and the old one has lost the address, and 2 s on.
func (b *bed) suffer(holder *controlplane.Node, fault func() error) seen {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 40*time.Second)
	defer cancel()
	observer := b.LAN.Observer()
	stop := require.Value(observer.Ask(b.vip, asking))(b.t)
	defer stop()
	p := netns.StartProber(netns.Probe{From: b.Client, Network: "tcp", To: netip.AddrPortFrom(b.vip, echoPort)})
	defer p.Stop()
	require.Value(p.Wait(ctx, time.Now(), nil))(b.t)
	began := time.Now()
	lost := make(chan time.Duration, 1)
	go func() {
		err := holder.WaitNoAddr(ctx, b.vip)
		if err != nil {
			b.t.Errorf("%s keeps the address: %v", holder.Name(), err)
		}
		lost <- time.Since(began)
	}()
	require.NoError(b.t, fault())
	again := require.Value(p.Wait(ctx, began, func(r netns.Reached) bool { return r.By != holder.Name() }))(b.t)
	s := seen{gone: <-lost}
	end := again.At
	if at := began.Add(s.gone); at.After(end) {
		end = at
	}
	require.Value(p.Wait(ctx, end.Add(2*time.Second), nil))(b.t)
	s.outage, s.history = p.Report(began, end.Add(2*time.Second)), observer.History(b.vip, began)
	return s
}

// row is a line of the table.
type row struct {
	fault                  string
	silence, overlap       time.Duration
	maxSilence, maxOverlap time.Duration
}

func (r row) String() string {
	return fmt.Sprintf("| %s | %d ms | %d ms | %d ms | %d ms |", r.fault,
		r.silence.Milliseconds(), r.maxSilence.Milliseconds(), r.overlap.Milliseconds(), r.maxOverlap.Milliseconds())
}

func TestFaults(t *testing.T) {
	b := newBed(t)
	var table []string
	check := func(t *testing.T, r row, s seen) {
		r.silence, r.overlap = s.outage.Longest, s.history.LongestOverlap(5*asking)
		table = append(table, r.String())
		if r.silence > r.maxSilence {
			t.Errorf("the client was unanswered for %v, want at most %v (%s)", r.silence, r.maxSilence, s.outage)
		}
		if r.overlap > r.maxOverlap {
			t.Errorf("two nodes answered for %v, want at most %v:\n%s", r.overlap, r.maxOverlap, s.history.Turns())
		}
	}
	// Nobody takes over before leaseDuration has passed since the last renewal, and the fence is over by then.
	dead := leaseDuration + retryPeriod + slack

	t.Run("SIGTERM of the holder", func(t *testing.T) {
		holder := b.settle()
		s := b.suffer(holder, func() error { return b.agents[holder.Name()].Stop(t.Context()) })
		check(t, row{fault: "SIGTERM of the holder", maxSilence: time.Second, maxOverlap: time.Second + slack}, s)
		b.start(holder)
	})
	t.Run("SIGKILL of the holder", func(t *testing.T) {
		holder := b.settle()
		s := b.suffer(holder, b.agents[holder.Name()].Kill)
		check(t, row{fault: "SIGKILL of the holder", maxSilence: dead, maxOverlap: 0}, s)
		if s.gone > leaseDuration+slack {
			t.Errorf("its kernel kept the address for %v, longer than the lease", s.gone)
		}
		b.start(holder)
	})
	t.Run("SIGSTOP and SIGCONT of the holder", func(t *testing.T) {
		holder := b.settle()
		agent := b.agents[holder.Name()]
		s := b.suffer(holder, func() error { return agent.Signal(syscall.SIGSTOP) })
		check(t, row{fault: "SIGSTOP of the holder", maxSilence: dead, maxOverlap: 0}, s)
		woken := time.Now()
		require.NoError(t, agent.Signal(syscall.SIGCONT))
		after := b.settle()
		if after == holder {
			t.Error("the frozen node has the VIP again")
		}
		if said := b.LAN.Observer().Answers(b.vip, woken).By(holder.Name()); len(said) > 0 {
			t.Errorf("the frozen agent spoke when it went on: %s", said)
		}
	})
	t.Run("cable of the holder cut, and mended", func(t *testing.T) {
		holder := b.settle()
		s := b.suffer(holder, holder.Cut)
		check(t, row{fault: "cable of the holder cut", maxSilence: dead, maxOverlap: 0}, s)
		mended := time.Now()
		require.NoError(t, holder.Mend())
		if after := b.settle(); after == holder {
			t.Error("the node that was cut off has the VIP again")
		}
		if said := b.LAN.Observer().Answers(b.vip, mended).By(holder.Name()); len(said) > 0 {
			t.Errorf("the node that was cut off spoke when it was back: %s", said)
		}
	})
	t.Run("API path of the holder cut", func(t *testing.T) {
		holder := b.settle()
		var mend func(context.Context) error
		s := b.suffer(holder, func() (err error) {
			mend, err = holder.Block(t.Context(), netns.Path{Protocol: "tcp", Port: controlplane.APIPort, Local: true})
			return err
		})
		check(t, row{fault: "API path of the holder cut", maxSilence: dead, maxOverlap: 0}, s)
		require.NoError(t, mend(t.Context()))
		b.settle()
	})
	t.Run("both agents that wait are started at once", func(t *testing.T) {
		holder := b.settle()
		var stops []error
		for _, n := range b.Nodes() {
			if n != holder {
				stops = append(stops, b.agents[n.Name()].Kill())
			}
		}
		require.NoError(t, errors.Join(stops...))
		for _, n := range b.Nodes() {
			if n != holder {
				b.start(n)
			}
		}
		if after := b.settle(); after != holder {
			t.Errorf("the VIP went from %s to %s", holder.Name(), after.Name())
		}
	})
	t.Logf("leases 5/3/1, a client that asks every 10 ms\n| fault | longest unanswered | bound | longest two answered | bound |\n|---|---|---|---|---|\n%s", strings.Join(table, "\n"))
}
