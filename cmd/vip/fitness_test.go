package main_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	vip "daymark/cmd/vip"
	"daymark/internal/datapath"
	"daymark/internal/election"
)

// told is an elector that remembers what it was told, on a list that several share.
type told struct {
	name string
	list *[]string
}

func (e told) note(format string, args ...any) {
	*e.list = append(*e.list, e.name+" "+fmt.Sprintf(format, args...))
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
		"the control plane's link stays down": {
			func(f *vip.Fitness, _, _ *election.Healthy) {
				f.Links()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				f.Links(up("eth0"))
			},
			"traffic false, cp yields, cp stands for 0, traffic true, cp stands for 1, cp resumes",
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
				var list []string
				cp, services := election.NewHealthy(told{"cp", &list}), election.NewHealthy(told{"services", &list})
				cp.Set([]election.Claim{{Name: "cp"}})
				services.Set([]election.Claim{{Name: "web"}})
				list = nil
				f := vip.NewFitness(30*time.Second, func(there bool) { list = append(list, fmt.Sprint("traffic ", there)) }, quiet, cp, services)
				test.tell(f, cp, services)
				if d := cmp.Diff(test.want, strings.Join(list, ", ")); d != "" {
					t.Error(d)
				}
			})
		})
	}
	t.Run("an elector that comes later yields too", func(t *testing.T) {
		var list []string
		f := vip.NewFitness(0, nil, quiet)
		f.Yield(nil, "node", "cordoned")
		f.Add(election.NewHealthy(told{"late", &list}))
		if d := cmp.Diff([]string{"late yields"}, list); d != "" {
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
