package l2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/l2"
	"daymark/internal/vip"
	"daymark/test/netns"
)

// A NIC lets in what is sent to the groups that were joined, and a switch that snoops passes on what it was told of by MLD. Whoever probes
// for an IPv6 address at the same time asks the address's own group, and must be heard (RFC 4862, 5.4.3).
func TestWhoProbesAtOnceIsHeardThroughAFilter(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(*testing.T) lan{"NIC": behindFilter, "switch": behindSwitch} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := build(t)
			far, a := w.station(t, l2.IPv6), w.start(t, l2.Config{})
			key := w.awaitFilter(t, far, a)
			err := w.probeWhile(t, far, a, key, l2.ProbeFrame(key.Addr, stranger))
			var conflict *l2.Conflict
			if !errors.As(err, &conflict) || conflict.Kind != l2.Query || conflict.MAC != stranger {
				t.Errorf("while another probes: %v", err)
			}
			w.awaitLeft(t, key)
		})
	}
}

// behindFilter is a wire whose near end filters by a hash of each group, as many a NIC does.
func behindFilter(t *testing.T) lan {
	t.Helper()
	w := real(t)
	parent := w.near
	w.near = parent + "m"
	netns.IP(t, "link add link "+parent+" name "+w.near+" type macvlan mode private")
	netns.IP(t, "link set "+w.near+" up")
	return w
}

// behindSwitch is two wires into a switch that snoops: a bridge that asks for members itself, since one that hears nobody ask floods.
func behindSwitch(t *testing.T) lan {
	t.Helper()
	w, other := real(t), real(t)
	bridge := w.near + "b"
	netns.IP(t, "link add name "+bridge+" type bridge mcast_snooping 1 mcast_mld_version 2 mcast_query_response_interval 100")
	t.Cleanup(func() { netns.IP(t, "link del "+bridge) })
	for _, port := range []string{w.far, other.near} {
		netns.IP(t, "link set "+port+" master "+bridge)
	}
	netns.IP(t, "link set "+bridge+" up")
	netns.IP(t, "address add fe80::1/64 dev "+bridge+" nodad") // what it asks from
	netns.IP(t, "link set "+bridge+" type bridge mcast_querier 1")
	w.far = other.far
	return w
}

// awaitFilter returns an address of which a question from the far end isn't heard by who is not in its group, although what is sent after
// it to all nodes is. That takes a while where the switch has to ask first, and several addresses where the hash of one is that of a
// group which every node is in.
func (w lan) awaitFilter(t *testing.T, far *station, a *l2.Announcer) vip.Key {
	t.Helper()
	for round := range 200 {
		key := w.addr(fmt.Sprintf("fd00::12:%x", 0x3400+round), 0).Key()
		heard, stop, err := a.Listen(key)
		if err != nil {
			t.Fatal(err)
		}
		mark := l2.MAC{2, 0, 0, 0, 2, byte(round)}
		for _, frame := range [][]byte{l2.ProbeFrame(key.Addr, stranger), l2.Announcements(key.Addr, mark)[0]} {
			if err := far.Send(frame); err != nil {
				t.Error(err)
			}
		}
		var first l2.Heard
		select {
		case first = <-heard:
		case <-time.After(100 * time.Millisecond):
		}
		stop()
		if first.MAC == mark {
			return key
		}
		wait(50 * time.Millisecond)
	}
	t.Fatal("nothing is filtered")
	return vip.Key{}
}

// awaitLeft waits until this namespace is not in the group of an address any more. A process that another test starts has a copy of the
// socket for a moment.
func (w lan) awaitLeft(t *testing.T, key vip.Key) {
	t.Helper()
	for end := time.Now().Add(w.slack); joined(t, key) > 0; wait(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still in its group after the probe")
		}
	}
}

// joined returns how often this namespace is in the group of an address on its link.
func joined(t *testing.T, key vip.Key) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/igmp6")
	if err != nil {
		t.Fatal(err)
	}
	a, n := key.Addr.As16(), 0
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // index, link, group, users, flags, timer
		if len(f) > 3 && f[1] == key.Link && f[2] == strings.ReplaceAll(group.StringExpanded(), ":", "") {
			n++
		}
	}
	return n
}

// watching is a network that has something done at each question, before it is asked.
type watching struct {
	l2.Network
	asked func()
	join  error // what joining a group fails with
}

func (n watching) Open(link string, family l2.Family) (l2.Port, error) {
	p, err := n.Network.Open(link, family)
	if err != nil {
		return nil, err
	}
	return &watched{p, n}, nil
}

type watched struct {
	l2.Port
	network watching
}

func (p *watched) Send(frame []byte) error {
	if h, ok := l2.Parse(frame); ok && h.Kind == l2.Query {
		p.network.asked()
	}
	return p.Port.Send(frame)
}

func (p *watched) Join(group netip.Addr) (io.Closer, error) {
	if p.network.join != nil {
		return nil, p.network.join
	}
	return p.Port.Join(group)
}

func TestEachQuestionIsAskedInTheGroup(t *testing.T) {
	t.Parallel()
	w := real(t)
	key, same := w.addr("fd00::12:3456", 0).Key(), w.addr("fd00:1::12:3456", 0).Key() // of one group
	asked := 0
	w.Network = watching{Network: w.Network, asked: func() {
		asked++
		if n := joined(t, key); n != 1 {
			t.Errorf("question %d: in the group %d times", asked, n)
		}
	}}
	a := w.start(t, l2.Config{})
	results := make(chan error, 2)
	for _, k := range []vip.Key{key, same} {
		go func() { results <- a.Probe(t.Context(), k) }()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if asked != 6 {
		t.Errorf("asked %d times, want 6", asked)
	}
	w.awaitLeft(t, key)
}

func TestAGroupIsLeftHoweverAProbeEnds(t *testing.T) {
	for name, end := range map[string]func(w lan, far *station, key vip.Key, cancel func()){
		"nobody": func(lan, *station, vip.Key, func()) {},
		"somebody": func(_ lan, far *station, key vip.Key, _ func()) {
			_ = far.Send(l2.Announcements(key.Addr, stranger)[0])
		},
		"its context":         func(_ lan, _ *station, _ vip.Key, cancel func()) { cancel() },
		"a link that is down": func(w lan, _ *station, _ vip.Key, _ func()) { w.down() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := simulated()
				memory := w.Network.(*wire)
				far, a := w.station(t, l2.IPv6), w.start(t, l2.Config{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				key, done := w.addr("fd00::10", 0).Key(), make(chan error, 1)
				go func() { done <- a.Probe(ctx, key) }()
				synctest.Wait()
				if n := memory.joined(); n != 1 {
					t.Errorf("in %d groups while probing", n)
				}
				end(w, far, key, cancel)
				if err := <-done; (err == nil) != (name == "nobody") {
					t.Error(err)
				}
				if n := memory.joined(); n != 0 {
					t.Errorf("in %d groups after that", n)
				}
			})
		})
	}
}

func TestAGroupThatCannotBeJoinedIsToldAndTheProbeGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		asked := 0
		w := simulated()
		w.Network = watching{w.Network, func() { asked++ }, errors.New("no room")}
		a := w.start(t, l2.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err := a.Probe(t.Context(), w.addr("fd00::10", 0).Key()); err != nil || asked != 3 {
			t.Errorf("asked %d times: %v", asked, err)
		}
		for _, want := range []string{"level=WARN", "addr=fd00::10", "link=near", `err="no room"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %s in %s", want, &log)
			}
		}
	})
}
