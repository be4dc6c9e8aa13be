package datapath_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/datapath"
	"daymark/test/netns"
	"daymark/test/require"
)

func TestLinkForTheSubnetOfAnAddress(t *testing.T) {
	own := func(prefixes ...string) (out []netip.Prefix) {
		for _, p := range prefixes {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	links := []datapath.Link{
		{Name: "eth0", Own: own("198.18.0.1/16", "fd00::1/64", "203.0.113.7/32")},
		{Name: "eth1", Own: own("198.18.4.1/24")},
		{Name: "lo", Loopback: true, Own: own("127.0.0.1/8")},
	}
	for text, want := range map[string]string{
		"198.18.4.9":  "eth1 198.18.4.9/24",
		"198.18.5.9":  "eth0 198.18.5.9/16",
		"fd00::9":     "eth0 fd00::9/64",
		"fd01::9":     "none",
		"127.0.0.9":   "none",
		"203.0.113.7": "none",
	} {
		addr, got := netip.MustParseAddr(text), "none"
		if l, ok := datapath.LinkFor(links, addr); ok {
			got = l.Name + " " + datapath.PrefixOn(l, addr).String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := datapath.PrefixOn(links[1], netip.MustParseAddr("fd00::9")); got.String() != "fd00::9/128" {
		t.Errorf("on no subnet: %s", got)
	}
}

func TestWatchLinks(t *testing.T) {
	l := link(t, "a0")
	netns.IP(t, "address add 198.18.0.1/24 dev a0")
	k := open(t, datapath.Config{})
	require.Running(t, k.Run)
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan []datapath.Link, 100), make(chan error, 1)
	go func() { done <- k.WatchLinks(ctx, func(links []datapath.Link) { told <- links }) }()
	find := func(what string, is func(datapath.Link, bool) bool) {
		t.Helper()
		deadline := time.After(5 * time.Second)
		for {
			select {
			case links := <-told:
				i := slices.IndexFunc(links, func(x datapath.Link) bool { return x.Name == l })
				if i < 0 && is(datapath.Link{}, false) || i >= 0 && is(links[i], true) {
					return
				}
			case <-deadline:
				t.Fatalf("not told: %s", what)
			}
		}
	}
	own := netip.MustParsePrefix("198.18.0.1/24")
	find("first", func(l datapath.Link, _ bool) bool {
		return l.Usable() && slices.Contains(l.Own, own) && len(l.MAC) == 6
	})
	set(t, k, addr("198.18.0.9/32", l))
	netns.IP(t, "link set pa0 down")
	find("carrier lost", func(l datapath.Link, ok bool) bool { return ok && l.Up && !l.Carrier && !l.Usable() })
	netns.IP(t, "link set pa0 up")
	find("carrier back", func(l datapath.Link, ok bool) bool {
		return l.Usable() && !slices.Contains(l.Own, netip.MustParsePrefix("198.18.0.9/32"))
	})
	netns.IP(t, "address del 198.18.0.1/24 dev a0")
	find("own address gone", func(l datapath.Link, ok bool) bool { return ok && !slices.Contains(l.Own, own) })
	netns.IP(t, "link set a0 down")
	find("down", func(l datapath.Link, ok bool) bool { return ok && !l.Up })
	netns.IP(t, "link del a0")
	find("gone", func(_ datapath.Link, ok bool) bool { return !ok })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDefaults(t *testing.T) {
	if d, err := datapath.Defaults(); err != datapath.ErrNoDefault {
		t.Fatalf("%v %v, want none", d, err)
	}
	link(t, "a0")
	link(t, "a1")
	netns.IP(t, "address add 198.18.0.1/24 dev a0")
	netns.IP(t, "address add 198.18.1.1/24 dev a1")
	netns.IP(t, "address add fd00::1/64 dev a1 nodad")
	netns.IP(t, "route add 198.19.0.0/16 via 198.18.1.254")
	netns.IP(t, "route add default via 198.18.1.254 metric 200")
	netns.IP(t, "route add default via 198.18.0.254 metric 100")
	netns.IP(t, "-6 route add default via fd00::fe metric 50")
	got, err := datapath.Defaults()
	want := []datapath.Default{
		{Link: "a0", Gateway: netip.MustParseAddr("198.18.0.254"), Metric: 100},
		{Link: "a1", Gateway: netip.MustParseAddr("198.18.1.254"), Metric: 200},
		{Link: "a1", Gateway: netip.MustParseAddr("fd00::fe"), Metric: 50},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || err != nil {
		t.Error(err, d)
	}
}

func TestWatchDefaults(t *testing.T) {
	link(t, "a0")
	link(t, "a1")
	netns.IP(t, "address add 198.18.0.1/24 dev a0")
	netns.IP(t, "address add fd00::1/64 dev a1 nodad")
	netns.IP(t, "route add default via 198.18.0.254 metric 100")
	k := open(t, datapath.Config{})
	require.Running(t, k.Run)
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan []datapath.Default, 100), make(chan error, 1)
	go func() { done <- k.WatchDefaults(ctx, func(d []datapath.Default) { told <- d }) }()
	for _, step := range []struct{ ip, want string }{
		{"", "[{a0 198.18.0.254 100}]"},
		{"-6 route add default via fd00::fe metric 50", "[{a0 198.18.0.254 100} {a1 fd00::fe 50}]"},
		{"route replace default via 198.18.0.253 metric 100", "[{a0 198.18.0.253 100} {a1 fd00::fe 50}]"},
		{"route add 198.19.0.0/16 via 198.18.0.99", ""},
		{"route add default via 198.18.0.99 table 77", ""},
		{"address add 198.18.0.2/24 dev a0", ""},
		// Of these routes' end the kernel says nothing.
		{"link set a0 down", "[{a1 fd00::fe 50}]"},
		{"-6 route del default", "[]"},
		{"link set a0 up", ""},
		{"route add default via 198.18.0.254", "[{a0 198.18.0.254 0}]"},
	} {
		if step.ip != "" {
			netns.IP(t, step.ip)
		}
		if step.want == "" {
			continue // what follows would find it out of its turn
		}
		select {
		case d := <-told:
			if got := fmt.Sprint(d); got != step.want {
				t.Fatalf("after %q: %s, want %s", step.ip, got, step.want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("after %q: nothing, want %s", step.ip, step.want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
