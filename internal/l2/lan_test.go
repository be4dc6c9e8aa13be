package l2_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
	"daymark/internal/vip"
	"daymark/test/netns"
)

// lan is a wire with two ends, in memory or in the kernel: the announcer is on the one, everybody else on the other.
type lan struct {
	l2.Network
	near, far string
	slack     time.Duration // how late anything may be: a kernel's machine may be starved
	down, up  func()        // of the near end
	tell      func()        // in memory: that links may have changed
}

// onBoth runs a behaviour in memory, where time is exact, and on a veth pair of the kernel.
func onBoth(t *testing.T, behave func(t *testing.T, w lan)) {
	t.Run("simulated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { behave(t, simulated()) })
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		behave(t, real(t))
	})
}

// real is a veth pair.
func real(t *testing.T) lan {
	t.Helper()
	near := fmt.Sprintf("v%x", time.Now().UnixNano()&0xffffffff)
	far := near + "p"
	netns.IP(t, "link add "+near+" type veth peer name "+far)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", near).Run() })
	netns.IP(t, "link set "+far+" up")
	netns.IP(t, "link set "+near+" up")
	// The kernel tells a moment later that it runs, and then all is announced anew.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); wait(time.Millisecond) {
		if ifi, err := net.InterfaceByName(near); err == nil && ifi.Flags&net.FlagRunning != 0 {
			break
		}
	}
	return lan{l2.Sockets{}, near, far, 3 * time.Second,
		func() { netns.IP(t, "link set "+near+" down") }, func() { netns.IP(t, "link set "+near+" up") }, nil}
}

// station is what hears, and can say, anything at the far end.
type station struct {
	l2.Port
	mu     sync.Mutex
	frames []heard
}

type heard struct {
	l2.Heard
	frame []byte
	at    time.Time
}

func (w lan) station(t *testing.T, family l2.Family) *station {
	t.Helper()
	port, err := w.Open(w.far, family)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{Port: port}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, err := port.Receive(b)
			if errors.Is(err, l2.ErrLinkDown) {
				continue
			}
			if err != nil {
				return
			}
			h, _ := l2.Parse(b[:n])
			s.mu.Lock()
			s.frames = append(s.frames, heard{h, slices.Clone(b[:n]), time.Now()})
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = port.Close()
		<-done
	})
	return s
}

// all returns the frames heard so far.
func (s *station) all() []heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.frames)
}

// about returns the frames heard so far about an address.
func (s *station) about(a vip.Address) []heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.frames), func(h heard) bool { return h.Addr != a.Prefix.Addr() })
}

// rounds returns when the announcements about an address were heard, counting both forms of one as one.
func (s *station) rounds(a vip.Address) []time.Time {
	var out []time.Time
	for _, h := range s.about(a) {
		if len(out) == 0 || h.at.Sub(out[len(out)-1]) > 40*time.Millisecond {
			out = append(out, h.at)
		}
	}
	return out
}

// start runs an announcer until the test ends.
func (w lan) start(t *testing.T, cfg l2.Config) *l2.Announcer {
	t.Helper()
	running := make(chan struct{})
	cfg.Network = told{w.Network, sync.OnceFunc(func() { close(running) })}
	a, err := l2.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	<-running
	return a
}

// told is a network that tells when the announcer runs and knows the links.
type told struct {
	l2.Network
	running func()
}

func (n told) Watch(ctx context.Context, changed func([]l2.Link)) error {
	return n.Network.Watch(ctx, func(links []l2.Link) {
		changed(links)
		n.running()
	})
}

// counting is a network that counts how often a port was asked for.
type counting struct {
	l2.Network
	opens atomic.Int32
}

func (n *counting) Open(link string, family l2.Family) (l2.Port, error) {
	n.opens.Add(1)
	return n.Network.Open(link, family)
}

// probeWhile probes for an address while the far end says a frame over and over, and returns what came of it. In memory one probe must
// hear it. On a real link the kernel has it at once, but a starved process may not read it within the 21 ms of a probe: then another one
// is made, as long as anything may be late. What a miss means for the one that follows is exact only in memory: TestLateAnswerToAProbe.
func (w lan) probeWhile(t *testing.T, far *station, a *l2.Announcer, key vip.Key, frame []byte) error {
	t.Helper()
	for end, tries := time.Now().Add(w.slack), 1; ; tries++ {
		result := make(chan error, 1)
		go func() { result <- a.Probe(t.Context(), key) }()
		for len(result) == 0 {
			if err := far.Send(frame); err != nil {
				t.Error(err)
			}
			wait(time.Millisecond)
		}
		if err := <-result; err != nil || !time.Now().Before(end) {
			if tries > 1 {
				t.Logf("heard nothing in %d probes before the last", tries-1)
			}
			return err
		}
	}
}

// settle waits until what was sent has surely been heard.
func (w lan) settle() { wait(20*time.Millisecond + w.slack/10) }

// atLeast is how many of n announcements must be heard: a starved machine leaves out some.
func (w lan) atLeast(n int) int {
	if w.slack > 0 {
		return 1
	}
	return n
}

// wait lets time pass: at once in memory, really on a real link.
func wait(d time.Duration) { <-time.After(d) }
