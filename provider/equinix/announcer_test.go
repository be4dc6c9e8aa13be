package equinix_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/vip"
	"daymark/provider/equinix"
	"daymark/test/metalapi"
)

// announce runs the announcer of node i until the test ends.
func (w *world) announce(i int, change ...func(*equinix.AnnouncerConfig)) *equinix.Announcer {
	w.t.Helper()
	cfg := equinix.AnnouncerConfig{
		Connect: func(context.Context) (equinix.AssignAPI, string, error) { return w.client, w.devices[i], nil },
		Log:     slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	a := equinix.NewAnnouncer(cfg)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return a
}

// want is the address with a right that lasts for that time; 0 is for ever.
func want(addr netip.Addr, right time.Duration) []vip.Address {
	a := vip.Address{Prefix: netip.PrefixFrom(addr, 32), Link: "lo"}
	if right != 0 {
		a.Until = time.Now().Add(right)
	}
	return []vip.Address{a}
}

func set(t *testing.T, a *equinix.Announcer, addrs []vip.Address) {
	t.Helper()
	if err := a.Set(t.Context(), addrs); err != nil {
		t.Error(err)
	}
}

func TestAnnouncerTakesTheAddressAndKeepsIt(t *testing.T) {
	story(t, 2, func(t *testing.T, w *world) {
		a, b := w.announce(0), w.announce(1)
		set(t, a, want(eip, 0))
		after(time.Second)
		w.is("node-0")
		set(t, a, nil)
		after(time.Minute)
		w.is("node-0") // somewhere, until another takes it
		set(t, b, want(eip, 0))
		after(time.Second)
		w.is("node-1")

		w.api.ResetCalls()
		after(10 * time.Minute)
		if _, all := w.calls(); all > 20 {
			t.Errorf("%d calls in ten minutes of holding, want 2 a minute", all)
		}
		for _, r := range w.api.Reservations() { // by somebody's hand
			if err := w.client.Unassign(t.Context(), r.Assignments[0].ID); err != nil {
				t.Fatal(err)
			}
		}
		after(30 * time.Second)
		w.is("node-1")
	})
}

func TestAnnouncerActsOnlyWithTheRight(t *testing.T) {
	story(t, 2, func(t *testing.T, w *world) {
		w.give(1)
		a := w.announce(0)
		w.api.Inject(metalapi.Fault{Call: listCall, Times: 1, Latency: 3 * time.Second}) // longer than the right lasts
		set(t, a, want(eip, 2*time.Second))
		after(time.Minute)
		w.is("node-1")
		w.api.Inject(metalapi.Fault{Call: "DELETE /ips", Times: 1, Latency: 3 * time.Second})
		set(t, a, nil)
		set(t, a, want(eip, 2*time.Second)) // runs out between the two writes
		after(time.Minute)
		w.is("")
		set(t, a, nil)
		set(t, a, want(eip, time.Minute))
		after(time.Second)
		w.is("node-0")
	})
}

func TestAnnouncerAndAnUnreliableAPI(t *testing.T) {
	for name, fault := range map[string]metalapi.Fault{
		"answer of the assignment lost": {Call: assignCall, Times: 1, DropAnswer: true},
		"answer of the other lost":      {Call: "DELETE /ips", Times: 1, DropAnswer: true},
		"somebody else is quicker":      {Call: assignCall, Times: 1, Status: 422, Text: "Address is already assigned"},
		"down for a while":              {Times: 10, Status: 502},
		"too many requests":             {Times: 3, Status: 429, RetryAfter: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 2, func(t *testing.T, w *world) {
				w.give(1)
				w.api.Inject(fault)
				set(t, w.announce(0), want(eip, 0))
				after(time.Minute)
				w.is("node-0")
			})
		})
	}
}

// TestAnnouncersOfTwoNodesSettle lets the right go to and fro: whoever has it last has the address.
func TestAnnouncersOfTwoNodesSettle(t *testing.T) {
	story(t, 2, func(t *testing.T, w *world) {
		w.api.Inject(metalapi.Fault{Latency: 300 * time.Millisecond})
		both := []*equinix.Announcer{w.announce(0), w.announce(1)}
		for i := range 21 {
			set(t, both[i%2], nil)
			set(t, both[(i+1)%2], want(eip, 0))
			after(time.Duration(i*70) * time.Millisecond)
		}
		after(10 * time.Second)
		w.is("node-1")
	})
}

func TestAnnouncerTellsOnceAndShows(t *testing.T) {
	story(t, 1, func(t *testing.T, w *world) {
		var told []error
		tries := 0
		a := w.announce(0, func(c *equinix.AnnouncerConfig) {
			c.Assigned = func(_ netip.Addr, err error) { told = append(told, err) }
			connect := c.Connect
			c.Connect = func(ctx context.Context) (equinix.AssignAPI, string, error) {
				if tries++; tries < 4 {
					return nil, "", errors.New("no device is called node-0")
				}
				return connect(ctx)
			}
		})
		set(t, a, want(eip, 0))
		synctest.Wait()
		if v := a.View(); len(v) != 1 || v[0].Here || v[0].Problem == "" {
			t.Errorf("view %+v", v)
		}
		after(time.Minute)
		if v := a.View(); len(v) != 1 || !v[0].Here || v[0].Problem != "" {
			t.Errorf("view %+v", v)
		}
		if len(told) != 2 || told[0] == nil || told[1] != nil {
			t.Errorf("told %v, want one problem and then its end", told)
		}
	})
}

func TestOwnDevice(t *testing.T) {
	addr := netip.MustParseAddr
	all := []equinix.Device{
		{ID: "a", Hostname: "one", Addresses: []equinix.DeviceAddress{{Addr: addr("10.0.0.1"), Managed: true}, {Addr: addr("192.0.2.9")}}},
		{ID: "b", Hostname: "two", Addresses: []equinix.DeviceAddress{{Addr: addr("10.0.0.2"), Managed: true}}},
		{ID: "c", Hostname: "two"},
	}
	for name, test := range map[string]struct {
		hostname, want string
		here           []netip.Addr
	}{
		"by address":                  {"two", "a", []netip.Addr{addr("10.0.0.1")}},
		"an elastic one doesn't tell": {"three", "", []netip.Addr{addr("192.0.2.9")}},
		"by name":                     {"one", "a", nil},
		"two of one name":             {"two", "", nil},
		"two of one name, by address": {"two", "b", []netip.Addr{addr("10.0.0.2")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := equinix.OwnDevice(all, test.hostname, test.here)
			if got.ID != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v; want %q", got.ID, err, test.want)
			}
		})
	}
}
