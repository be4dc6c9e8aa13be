package l2_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"daymark/internal/l2"
	"daymark/test/netns"
	"daymark/test/require"
)

// refusing is a network whose links can't be followed at times.
type refusing struct {
	l2.Network
	broken chan error // ends the Watch that runs

	mu    sync.Mutex
	fails []error     // what the next calls of Watch come to
	tried []time.Time // when they were made
}

func (n *refusing) Watch(ctx context.Context, changed func([]l2.Link)) error {
	n.mu.Lock()
	n.tried = append(n.tried, time.Now())
	if len(n.fails) > 0 {
		err := n.fails[0]
		n.fails = n.fails[1:]
		n.mu.Unlock()
		return err
	}
	n.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	var breaker sync.WaitGroup
	breaker.Go(func() {
		select {
		case err := <-n.broken:
			cancel(err)
		case <-ctx.Done():
		}
	})
	err := n.Network.Watch(ctx, changed)
	cause := context.Cause(ctx)
	cancel(nil)
	breaker.Wait()
	if !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// fail has what runs end with err, and n attempts after it. It returns how long after that each of them was made.
func (n *refusing) fail(times int, err error) (after func() []time.Duration) {
	n.mu.Lock()
	n.fails, n.tried = slices.Repeat([]error{err}, times), nil
	n.mu.Unlock()
	began := time.Now()
	n.broken <- err
	return func() (out []time.Duration) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, at := range n.tried {
			out = append(out, at.Sub(began))
		}
		return out
	}
}

// diary is a log that is written and read at one time.
type diary struct {
	mu   sync.Mutex
	text strings.Builder
}

func (d *diary) Write(line []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(line)
}

// String returns what was written so far.
func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// What passes, as a shortage of descriptors, ends nothing: addresses are announced all the while, and links are followed again after it.
func TestAShortageEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log diary
		registry := prometheus.NewRegistry()
		w := simulated()
		network := &refusing{Network: w.Network, broken: make(chan error)}
		w.Network = network
		far := w.station(t, l2.IPv4)
		a := w.start(t, l2.Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: registry, Period: time.Hour})
		addr := w.addr("198.18.0.10", 0)
		expect := func(when string, warnings, infos int, failures float64) {
			t.Helper()
			synctest.Wait()
			got := []int{strings.Count(log.String(), "level=WARN msg=\"following links failed"), strings.Count(log.String(), "level=INFO msg=\"following links again\"")}
			if d := cmp.Diff([]int{warnings, infos}, got); d != "" {
				t.Errorf("%s: warned, and told of its end: %s\n%s", when, d, &log)
			}
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if v := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "daymark_l2_watch_errors_total" && v != failures {
					t.Errorf("%s: %v failures are counted, want %v", when, v, failures)
				}
			}
		}
		set(t, a)
		wait(time.Minute)
		expect("all is well", 0, 0, 0)

		shortage := fmt.Errorf("reading links: %w", os.NewSyscallError("socket", unix.EMFILE))
		after := network.fail(8, shortage)
		set(t, a, addr)
		wait(16 * time.Second)
		if n := len(far.rounds(addr)); n != 5 {
			t.Errorf("%d announcements in the shortage, want 5", n)
		}
		expect("in the shortage", 1, 0, 8)
		wait(time.Minute)
		ms := time.Millisecond
		want := []time.Duration{100 * ms, 300 * ms, 700 * ms, 1500 * ms, 3100 * ms, 6300 * ms, 11300 * ms, 16300 * ms, 21300 * ms}
		if d := cmp.Diff(want, after()); d != "" {
			t.Error("tried again after", d)
		}
		expect("after it", 1, 1, 9)

		w.down()
		wait(time.Second)
		before := len(far.rounds(addr))
		w.up()
		wait(5 * time.Second)
		if n := len(far.rounds(addr)) - before; n != 5 {
			t.Errorf("%d announcements after the link's return, want 5", n)
		}

		after = network.fail(1, shortage)
		wait(10 * time.Second)
		if d := cmp.Diff([]time.Duration{100 * ms, 300 * ms}, after()); d != "" {
			t.Error("in the next shortage tried again after", d)
		}
		expect("after the next", 2, 2, 11)
	})
}

func TestWhatIsNotAllowedEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		denied := fmt.Errorf("watching links: %w", unix.EPERM)
		a, err := l2.New(l2.Config{Network: &refusing{Network: w.Network, fails: []error{denied}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(t.Context()); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestAStopInAShortageIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		a, err := l2.New(l2.Config{Network: &refusing{Network: w.Network, fails: slices.Repeat([]error{unix.ENOBUFS}, 100)}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestADescriptorTooFewEndsNothing takes from a process what it needs to look at its links, and changes them.
func TestADescriptorTooFewEndsNothing(t *testing.T) {
	t.Parallel()
	w := real(t)
	far, addr := w.station(t, l2.IPv4), w.addr("198.18.0.10", 0)
	cmd := spawn(t, exec.Command(os.Args[0], "-announce", w.near+",198.18.0.10,60"))
	for len(far.about(addr)) == 0 {
		wait(10 * time.Millisecond)
	}
	var limit unix.Rlimit
	require.NoError(t, unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit))
	limit.Cur = 0
	require.NoError(t, unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil))
	netns.IP(t, "link set "+w.near+" mtu 1400")
	wait(time.Second) // it has looked by then, and whoever ended by that is gone
	before := len(far.about(addr))
	for end := time.Now().Add(10 * time.Second); len(far.about(addr)) < before+3; wait(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d announcements in 10 s after the links could not be read", len(far.about(addr))-before)
		}
	}
}
