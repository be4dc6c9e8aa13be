package main_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	vip "daymark/cmd/vip"
	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
)

// list is what was told to several, in order.
type list struct {
	mu    sync.Mutex
	lines []string
}

func (l *list) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

// take returns what was told since the last call.
func (l *list) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := strings.Join(l.lines, ", ")
	l.lines = nil
	return out
}

// told is an elector that remembers what it was told, on a list that several share.
type told struct {
	name string
	list *list
}

func (e told) note(format string, args ...any) {
	e.list.add(e.name + " " + fmt.Sprintf(format, args...))
}
func (e told) Set(claims []election.Claim)               { e.note("stands for %d", len(claims)) }
func (e told) Heard(string)                              {}
func (e told) Yield()                                    { e.note("yields") }
func (e told) Resume()                                   { e.note("resumes") }
func (e told) Run(context.Context, election.Apply) error { return nil }

func (told) Verify(string, func(election.Verdict)) {}

func TestFitness(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	up := func(name string) datapath.Link { return datapath.Link{Name: name, Up: true, Carrier: true} }
	cut := datapath.Link{Name: "eth0", Up: true}
	for name, test := range map[string]struct {
		tell func(f *vip.Fitness, cp, services *election.Healthy)
		want string
	}{
		"a cordoned node hands over, and takes again": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Yield(nil, "node", "cordoned")
				f.Yield(nil, "node", "")
			},
			"cp yields, services yields, cp resumes, services resumes",
		},
		"two reasons are one, until both are gone": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Yield(nil, "node", "cordoned")
				f.Yield(nil, "link", "eth0")
				f.Yield(nil, "node", "tainted x")
				f.Yield(nil, "node", "")
				f.Yield(nil, "node", "")
				f.Yield(nil, "link", "")
			},
			"cp yields, services yields, cp resumes, services resumes",
		},
		"health is one elector's": {
			func(f *vip.Fitness, cp, _ *election.Healthy) {
				f.Refuse(cp, "health", true)
				f.Refuse(cp, "health", true)
				f.Refuse(cp, "health", false)
			},
			"cp stands for 0, cp stands for 1",
		},
		"nothing is held until every refusal is over": {
			func(f *vip.Fitness, cp, _ *election.Healthy) {
				f.Refuse(cp, "health", true)
				f.Refuse(nil, "link", true)
				f.Refuse(cp, "health", false)
				cp.Set([]election.Claim{{Name: "a"}, {Name: "b"}})
				f.Refuse(nil, "link", false)
			},
			"cp stands for 0, services stands for 0, cp stands for 2, services stands for 1",
		},
		"a reason for one elector is none for the others, and joins those for all": {
			func(f *vip.Fitness, cp, _ *election.Healthy) {
				f.Yield(cp, "link", "down")
				f.Yield(nil, "node", "cordoned")
				f.Yield(cp, "link", "")
				f.Yield(nil, "node", "")
			},
			"cp yields, services yields, cp resumes, services resumes",
		},
		"the control plane's link is down, and not for long": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Links(cut, up("eth1"))
				time.Sleep(29 * time.Second)
				f.Links(cut, up("eth1"))
				f.Links(up("eth1"))
				time.Sleep(time.Second / 2)
				f.Links(up("eth0"), up("eth1"))
				time.Sleep(time.Hour)
			},
			"traffic false, cp yields, traffic true, cp resumes",
		},
		"the control plane's link stays down, and nobody else takes over": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Links()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				f.Links(up("eth0"))
			},
			"traffic false, cp yields, cp stands for 0, traffic true, cp stands for 1, cp resumes",
		},
		"a link that flaps takes nothing from a node that serves": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Served.Store(true)
				for range 100 {
					f.Links(cut)
					time.Sleep(time.Second)
					f.Links(up("eth0"))
					time.Sleep(4999 * time.Millisecond)
				}
				synctest.Wait()
				f.Note("not yet 5 s")
				time.Sleep(time.Millisecond)
				synctest.Wait()
			},
			"traffic false, cp yields, traffic true" + strings.Repeat(", traffic false, traffic true", 99) + ", not yet 5 s, cp resumes",
		},
		"what was given up comes back with the link, and takes nothing from a node that serves": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Served.Store(true)
				f.Links(cut)
				time.Sleep(30 * time.Second)
				synctest.Wait()
				f.Links(up("eth0"))
				time.Sleep(time.Hour)
			},
			"traffic false, cp yields, cp stands for 0, traffic true, cp stands for 1, cp resumes",
		},
		"the node that serves ceases to while the link settles": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Served.Store(true)
				f.Links(cut)
				f.Links(up("eth0"))
				time.Sleep(2 * time.Second)
				synctest.Wait()
				f.Note("2 s")
				f.Served.Store(false)
				time.Sleep(vip.LinkLooks)
				synctest.Wait()
				f.Note("a moment later")
			},
			"traffic false, cp yields, traffic true, 2 s, cp resumes, a moment later",
		},
		"a node that serves is heard of while the link settles": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Links(cut)
				f.Links(up("eth0"))
				f.Served.Store(true)
				time.Sleep(time.Hour)
			},
			"traffic false, cp yields, traffic true, cp resumes, cp yields, cp resumes",
		},
		"a link that is cut again while it settles is given up after as long as any": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Served.Store(true)
				f.Links(cut)
				time.Sleep(29 * time.Second)
				f.Links(up("eth0"))
				time.Sleep(2 * time.Second)
				f.Links(cut)
				time.Sleep(29 * time.Second)
				f.Note("29 s")
				time.Sleep(time.Hour)
			},
			"traffic false, cp yields, traffic true, traffic false, 29 s, cp stands for 0",
		},
		"another link is down": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Links(up("eth0"), datapath.Link{Name: "eth1"})
				time.Sleep(time.Hour)
			},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := new(list)
				cp, services := election.NewHealthy(told{"cp", all}), election.NewHealthy(told{"services", all})
				cp.Set([]election.Claim{{Name: "cp"}})
				services.Set([]election.Claim{{Name: "web"}})
				all.take()
				f := vip.NewFitness(30*time.Second, func(there bool) { all.add(fmt.Sprint("traffic ", there)) }, quiet, cp, services)
				f.Note = all.add
				test.tell(f, cp, services)
				f.Carrier.Stop()
				if d := cmp.Diff(test.want, all.take()); d != "" {
					t.Error(d)
				}
			})
		})
	}
	t.Run("users are told of a link that is cut, and that it serves once it has for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := vip.NewFitness(0, func(bool) {}, quiet, election.NewHealthy(told{"cp", new(list)}))
			down := agent.Event{Type: "Warning", Reason: "AddressTrouble", Text: "control plane: link eth0 has no carrier"}
			serves := agent.Event{Type: "Normal", Reason: "LinkServes", Text: "control plane: link eth0 serves again"}
			expect := func(after time.Duration, want ...agent.Event) {
				t.Helper()
				time.Sleep(after)
				synctest.Wait()
				if d := cmp.Diff(want, f.Told()); d != "" {
					t.Error(d)
				}
			}
			f.Links(up("eth0"))
			expect(time.Hour)
			for range 10 {
				f.Links(cut)
				expect(time.Second, down)
				f.Links(up("eth0"))
				expect(4*time.Second, down)
			}
			expect(time.Second, down, serves)
			f.Links(datapath.Link{Name: "eth0"})
			f.Links(up("eth0"))
			expect(time.Hour, down, serves, agent.Event{Type: "Warning", Reason: "AddressTrouble", Text: "control plane: link eth0 is down"}, serves)
		})
	})
	t.Run("an elector that comes later yields too", func(t *testing.T) {
		all := new(list)
		f := vip.NewFitness(0, nil, quiet)
		f.Yield(nil, "node", "cordoned")
		f.Add(election.NewHealthy(told{"late", all}))
		if d := cmp.Diff("late yields", all.take()); d != "" {
			t.Error(d)
		}
	})
}

func TestStations(t *testing.T) {
	mac := func(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }
	own := []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}
	links := []datapath.Link{
		{Name: "lo", MAC: make(net.HardwareAddr, 6), Loopback: true, Own: own},
		{Name: "eth0", MAC: mac(1)}, {Name: "eth1", MAC: mac(2), Own: own}, {Name: "bond0", MAC: mac(2), Own: own},
		{Name: "veth1", MAC: mac(3)}, {Name: "tun0", Own: own},
	}
	if d := cmp.Diff([]string{"02:00:00:00:00:01", "02:00:00:00:00:02"}, vip.Stations(links, "eth0")); d != "" {
		t.Error(d)
	}
	for i := range 100 {
		links = append(links, datapath.Link{Name: fmt.Sprint("x", i), MAC: mac(byte(100 + i)), Own: own})
	}
	if n := len(vip.Stations(links)); n != 16 {
		t.Errorf("%d stations of a node with very many links", n)
	}
}
