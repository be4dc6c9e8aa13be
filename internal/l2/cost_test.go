package l2_test

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/l2"
)

func TestWhatWasAskedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		memory := w.Network.(*wire)
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
		for _, addr := range many(100, w.near) {
			if err := a.Probe(t.Context(), addr.Key()); err != nil {
				t.Fatal(err)
			}
			if err := far.Send(l2.Announcements(addr.Prefix.Addr(), stranger)[0]); err != nil { // too late
				t.Error(err)
			}
		}
		w.settle()
		if n := a.Remembered(); n < 100 || memory.open() != 1 {
			t.Fatalf("%d are remembered, and %d ports are open", n, memory.open())
		}
		wait(2 * time.Second)
		set(t, a)
		if n := memory.open(); n > 0 {
			t.Errorf("%d ports are open when nobody asks, announces or listens any more", n)
		}
		wait(time.Minute)
		set(t, a)
		if n := a.Remembered(); n > 100 { // the news that there were late answers
			t.Errorf("%d are remembered", n)
		}
	})
}

func TestAFloodOfInventedStationsDoesNotFillTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		var told atomic.Int32
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{Heard: func(l2.Heard) { told.Add(1) }})
		addr := w.addr("198.18.0.10", 0)
		set(t, a, addr)
		w.settle()
		const flood = 5000
		for i := range flood {
			mac := stranger
			binary.BigEndian.PutUint16(mac[2:], uint16(i))
			if err := far.Send(l2.Announcements(addr.Prefix.Addr(), mac)[0]); err != nil {
				t.Error(err)
			}
			if i%1000 == 0 {
				w.settle()
			}
		}
		w.settle()
		if n := a.Remembered(); n > 1024 || told.Load() != flood {
			t.Errorf("%d are remembered of %d that were told of %d", n, told.Load(), flood)
		}
	})
}

func TestWhatAStallMissedIsNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulated()
		memory := w.Network.(*wire)
		far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
		addr := w.addr("198.18.0.10", 0)
		set(t, a, addr)
		wait(10 * time.Second)
		stalled := make(chan struct{})
		memory.mu.Lock()
		memory.stalled = stalled
		memory.mu.Unlock()
		wait(100 * time.Second)
		before := len(far.rounds(addr))
		memory.mu.Lock()
		memory.stalled = nil
		memory.mu.Unlock()
		close(stalled)
		frames := len(far.about(addr))
		wait(10 * time.Second)
		if n, m := len(far.rounds(addr))-before, len(far.about(addr))-frames; n < 3 || n > 5 || m > 10 {
			t.Errorf("%d announcements of %d frames in 10 s after a stall of 100 s", n, m)
		}
	})
}

// TestARightThatRunsOutWhileSetWaits renews a right while the announcer is busy until after its end, and then notices that first: others
// may have had the address, so that it is announced anew.
func TestARightThatRunsOutWhileSetWaits(t *testing.T) {
	t.Parallel()
	w := simulated()
	memory := w.Network.(*wire)
	far, a := w.station(t, l2.IPv4), w.start(t, l2.Config{})
	addr, other := w.addr("198.18.0.10", time.Second), w.addr("198.18.0.11", 0)
	set(t, a, addr)
	wait(20 * time.Millisecond)
	stalled, waits := make(chan struct{}), make(chan struct{}, 1)
	memory.mu.Lock()
	memory.stalled, memory.waits = stalled, waits
	memory.mu.Unlock()
	renewed, done := w.addr("198.18.0.10", time.Hour), make(chan struct{})
	go func() {
		defer close(done)
		set(t, a, addr, other)
		<-waits // the first frame about the other is on its way, or one more about the first, and stays there
		set(t, a, renewed, other)
	}()
	wait(time.Until(addr.Until) + 10*time.Millisecond)
	before := len(far.about(addr))
	memory.mu.Lock()
	memory.stalled = nil
	memory.mu.Unlock()
	close(stalled)
	<-done
	for end := time.Now().Add(10 * time.Second); len(far.about(addr)) == before; wait(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not announced any more, with a right of an hour")
		}
	}
}

// poller is a socket's, which counts how often a reader waits for it; it gives up at once.
type poller struct {
	fd    uintptr
	waits int
}

var errWaits = errors.New("nothing to read")

func (p *poller) Control(f func(uintptr)) error  { f(p.fd); return nil }
func (p *poller) Write(func(uintptr) bool) error { return nil }
func (p *poller) Read(f func(uintptr) bool) error {
	if f(p.fd) {
		return nil
	}
	p.waits++
	return errWaits
}

var _ syscall.RawConn = &poller{}

func TestManyFramesInARowWakeTheReaderOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) }()
		send := func() {
			if _, err := unix.Write(pair[1], []byte("frame")); err != nil {
				t.Error(err)
			}
		}
		p := &poller{fd: uintptr(pair[0])}
		s, b := l2.NewSocket(p), make([]byte, 100)
		receive := func(want string, waits int) {
			t.Helper()
			if n, err := s.Receive(b); string(b[:n]) != want || p.waits != waits {
				t.Errorf("read %q, not %q, and waited %d times, not %d: %v", b[:n], want, p.waits, waits, err)
			}
		}
		send()
		receive("frame", 0)
		began := time.Now()
		receive("", 1) // one frame is no reason to wait for more
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v to find nothing", took)
		}
		send()
		send()
		receive("frame", 1)
		receive("frame", 1)
		for range 20 {
			time.AfterFunc(500*time.Microsecond, send)
			receive("frame", 1) // no sooner than a millisecond after the last
			send()
			receive("frame", 1)
		}
		receive("", 2)
		if took := time.Since(began); took < 20*time.Millisecond || took > 22*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		send()
		time.Sleep(time.Second)
		receive("frame", 2)
		receive("", 3)
	})
}
