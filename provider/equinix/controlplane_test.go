package equinix_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/tools/record"

	"daymark/provider/equinix"
	"daymark/test/metalapi"
)

const assignCall, listCall = "POST /devices/{device}/ips", "GET /projects/{project}/ips"

// moved bounds the time from the death of the holder's API server to the move: the round that runs, three rounds of failures, one more.
const moved = 5 * 2 * time.Second

// start runs a controller until the test ends or stop is called.
func (w *world) start(change ...func(*equinix.ControlPlaneConfig)) (events *record.FakeRecorder, stop func()) {
	w.t.Helper()
	events = record.NewFakeRecorder(100)
	cfg := equinix.ControlPlaneConfig{
		API: w.client, Tag: eipTag, Nodes: w.listNodes, Events: events, Log: slog.New(slog.DiscardHandler),
		Check: func(ctx context.Context, at netip.AddrPort) error {
			if w.isDown(at) {
				return errors.New("down")
			}
			return nil
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := equinix.NewControlPlane(cfg).Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return events, stop
}

// after lets that much time pass in the bubble.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func told(events *record.FakeRecorder, reason string) int {
	n := 0
	for {
		select {
		case e := <-events.Events:
			if strings.Contains(e, reason) {
				n++
			}
		default:
			return n
		}
	}
}

func story(t *testing.T, nodes int, play func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { play(t, newWorld(t, nodes)) })
}

func TestControlPlaneAddressFollowsHealth(t *testing.T) {
	story(t, 3, func(t *testing.T, w *world) {
		metrics := prometheus.NewPedanticRegistry()
		w.set(0, false)
		events, _ := w.start(func(c *equinix.ControlPlaneConfig) { c.Metrics = equinix.NewControlPlaneMetrics(metrics) })
		after(moved)
		w.is("node-1") // the first that is well, though node-0 comes first
		w.set(0, true)
		after(time.Minute)
		w.is("node-1")
		w.set(1, false)
		after(moved)
		w.is("node-2") // well for longer than node-0
		if n := told(events, "ControlPlaneAddressLost"); n != 1 {
			t.Errorf("%d Events of the loss, want 1", n)
		}
		want := `
			# HELP ccm_control_plane_address_assigned 1 for the control-plane node that has the elastic address, else 0.
			# TYPE ccm_control_plane_address_assigned gauge
			ccm_control_plane_address_assigned{node="node-0"} 0
			ccm_control_plane_address_assigned{node="node-1"} 0
			ccm_control_plane_address_assigned{node="node-2"} 1
			# HELP ccm_control_plane_address_moves_total Times that the elastic address was given to another node.
			# TYPE ccm_control_plane_address_moves_total counter
			ccm_control_plane_address_moves_total 2
			# HELP ccm_control_plane_healthy 1 for a control-plane node whose API server answers, else 0.
			# TYPE ccm_control_plane_healthy gauge
			ccm_control_plane_healthy{node="node-0"} 1
			ccm_control_plane_healthy{node="node-1"} 0
			ccm_control_plane_healthy{node="node-2"} 1
		`
		after(moved)
		if err := testutil.GatherAndCompare(metrics, strings.NewReader(want),
			"ccm_control_plane_address_assigned", "ccm_control_plane_address_moves_total", "ccm_control_plane_healthy"); err != nil {
			t.Error(err)
		}
	})
}

func TestControlPlaneAddressStaysWhileItsServerFailsNowAndThen(t *testing.T) {
	story(t, 3, func(t *testing.T, w *world) {
		w.give(0)
		w.start()
		after(time.Second) // between two rounds
		for range 50 {     // two failures, then an answer
			w.set(0, false)
			after(4 * time.Second)
			w.set(0, true)
			after(2 * time.Second)
			w.is("node-0")
		}
		if writes, _ := w.calls(); writes != 0 {
			t.Errorf("%d writes", writes)
		}
	})
}

func TestControlPlaneAddressDoesNotGoBackAndForth(t *testing.T) {
	story(t, 3, func(t *testing.T, w *world) {
		w.give(0)
		w.start()
		for i := range 40 { // node-0 and node-1 fail in turn, for long enough each; node-2 stays well
			w.set(i%2, false)
			w.set((i+1)%2, true)
			after(20 * time.Second)
		}
		w.is("node-2")
		if n := w.api.Calls()[assignCall]; n > 2 { // both others were well for as long when it moved first
			t.Errorf("%d moves, want 2 at most", n)
		}
	})
}

func TestControlPlaneAddressStaysWhereNobodyIsWell(t *testing.T) {
	story(t, 3, func(t *testing.T, w *world) {
		w.give(1)
		for i := range 3 {
			w.set(i, false)
		}
		events, _ := w.start()
		after(5 * time.Minute)
		w.is("node-1")
		if n := told(events, "NoHealthyControlPlane"); n != 1 {
			t.Errorf("%d Events, want 1", n)
		}
		w.set(2, true)
		after(3 * 2 * time.Second)
		w.is("node-2")
	})
}

func TestControlPlaneAddressLeavesWhatIsNoNode(t *testing.T) {
	story(t, 3, func(t *testing.T, w *world) {
		w.give(0)
		w.nodes = w.nodes[1:]
		w.start()
		after(moved)
		w.is("node-1")
		w.api.SetDeviceState(w.devices[1], "gone") // and the API forgets the assignment
		after(time.Minute)
		w.is("node-2")
	})
}

// TestControlPlaneCrashes ends the controller before and after each write of a move; the next one completes it.
func TestControlPlaneCrashes(t *testing.T) {
	for write := range 2 {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, done %t", write, done), func(t *testing.T) {
				story(t, 3, func(t *testing.T, w *world) {
					w.give(0)
					w.set(0, false)
					crash := &crashing{AssignAPI: w.client, at: write, done: done}
					ctx, cancel := context.WithCancel(t.Context())
					crash.end = cancel
					_, stop := w.start(func(c *equinix.ControlPlaneConfig) { c.API = crash })
					<-ctx.Done()
					stop()
					after(time.Minute)
					w.start()
					after(moved)
					if got := w.where(); got != "node-1" && got != "node-2" {
						t.Errorf("the address is at %q", got)
					}
				})
			})
		}
	}
}

// crashing lets a process end at a write, before or after it is done: nothing that comes later reaches the API.
type crashing struct {
	equinix.AssignAPI
	at, n int
	done  bool
	end   context.CancelFunc
	ended bool
}

func (c *crashing) write(do func() error) error {
	if c.ended {
		return errors.New("ended")
	}
	if c.n++; c.n-1 != c.at {
		return do()
	}
	if c.done {
		if err := do(); err != nil {
			return err
		}
	}
	c.ended = true
	c.end()
	return errors.New("ended")
}

func (c *crashing) Unassign(ctx context.Context, id string) error {
	return c.write(func() error { return c.AssignAPI.Unassign(ctx, id) })
}

func (c *crashing) Assign(ctx context.Context, device string, addr netip.Addr) (a equinix.Assignment, err error) {
	err = c.write(func() error { a, err = c.AssignAPI.Assign(ctx, device, addr); return err })
	return a, err
}

func TestControlPlaneAndAnUnreliableAPI(t *testing.T) {
	for name, faults := range map[string][]metalapi.Fault{
		"answers of every write lost": {{Call: "DELETE /ips", Times: 1, DropAnswer: true}, {Call: assignCall, Times: 1, DropAnswer: true}},
		"a storm of 429":              {{Times: 12, Status: 429, RetryAfter: 5 * time.Second}},
		"down for a minute":           {{Times: 40, Status: 503}},
		"one device refuses":          {{Call: assignCall, Times: 1, Status: 422, Text: "device is not active"}},
		"slow":                        {{Latency: 3 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 3, func(t *testing.T, w *world) {
				w.give(0)
				w.set(0, false)
				for _, f := range faults {
					w.api.Inject(f)
				}
				w.start()
				after(5 * time.Minute)
				if got := w.where(); got != "node-1" && got != "node-2" {
					t.Errorf("the address is at %q", got)
				}
				if writes, _ := w.calls(); writes > 5 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

func TestControlPlaneCostsTwoCallsAMinute(t *testing.T) {
	story(t, 5, func(t *testing.T, w *world) {
		w.give(0)
		w.start()
		after(10 * time.Minute)
		if _, all := w.calls(); all > 21 {
			t.Errorf("%d calls in ten minutes, want 2 a minute and one at start", all)
		}
	})
}

func TestControlPlaneSaysOnceWhatIsWrong(t *testing.T) {
	t.Run("token", func(t *testing.T) {
		story(t, 2, func(t *testing.T, w *world) {
			w.give(0)
			w.api.Inject(metalapi.Fault{Status: 401})
			w.start()
			after(10 * time.Minute)
			if n := w.api.Calls()[listCall]; n > 25 {
				t.Errorf("%d calls with a refused token in ten minutes, want two a minute and those of the first half", n)
			}
		})
	})
	t.Run("two reservations", func(t *testing.T) {
		story(t, 2, func(t *testing.T, w *world) {
			w.reserve()
			w.set(0, false)
			w.start()
			after(time.Minute)
			if writes, _ := w.calls(); writes != 0 {
				t.Errorf("%d writes", writes)
			}
		})
	})
}

func TestControlPlaneWritesOnlyWhileItMay(t *testing.T) {
	story(t, 2, func(t *testing.T, w *world) {
		w.give(0)
		w.set(0, false)
		w.start(func(c *equinix.ControlPlaneConfig) { c.May = func() bool { return false } })
		after(time.Minute)
		if writes, _ := w.calls(); writes != 0 {
			t.Errorf("%d writes", writes)
		}
	})
}

func TestControlPlaneHearsThroughTheAddress(t *testing.T) {
	story(t, 2, func(t *testing.T, w *world) {
		w.give(0)
		w.start(func(c *equinix.ControlPlaneConfig) { c.Through, c.Reread = true, time.Hour })
		after(moved)
		for _, r := range w.api.Reservations() { // by somebody's hand
			for _, a := range r.Assignments {
				if err := w.client.Unassign(t.Context(), a.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.mu.Lock()
		w.down[netip.AddrPortFrom(eip, 6443)] = true
		w.mu.Unlock()
		after(moved)
		if got := w.where(); !slices.Contains([]string{"node-0", "node-1"}, got) {
			t.Errorf("the address is at %q", got)
		}
	})
}
