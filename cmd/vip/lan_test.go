package main_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	main "daymark/cmd/vip"
	"daymark/internal/agent"
	"daymark/internal/election"
	"daymark/internal/l2"
	"daymark/internal/vip"
)

// segment is a LAN of which eth0 is the only link here.
type segment struct {
	in   chan []byte
	sent atomic.Int32
	end  chan struct{}
}

var own, other = l2.MAC{2, 0, 0, 0, 0, 1}, l2.MAC{2, 0, 0, 0, 0, 0xaa}

func (s *segment) Open(string, l2.Family) (l2.Port, error) { return s, nil }
func (s *segment) Watch(ctx context.Context, changed func([]l2.Link)) error {
	changed([]l2.Link{{Name: "eth0", Index: 1, MAC: own, Running: true}})
	<-ctx.Done()
	return nil
}
func (s *segment) MAC() l2.MAC       { return own }
func (s *segment) Send([]byte) error { s.sent.Add(1); return nil }
func (s *segment) Close() error      { close(s.end); return nil }
func (s *segment) Join(netip.Addr) (io.Closer, error) {
	return io.NopCloser(nil), nil
}
func (s *segment) Receive(b []byte) (int, error) {
	select {
	case f := <-s.in:
		return copy(b, f), nil
	case <-s.end:
		return 0, net.ErrClosed
	}
}

// says has the other host speak of an address: claim it, or ask whether it is free (RFC 5227).
func (s *segment) says(kind l2.Kind, addr netip.Addr) {
	ip := addr.As4()
	sender := ip
	if kind == l2.Query {
		sender = [4]byte{}
	}
	s.in <- slices.Concat([]byte{255, 255, 255, 255, 255, 255}, other[:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, other[:], sender[:], make([]byte, 6), ip[:])
	synctest.Wait()
}

// The control plane's address, and a Service's.
var held, served = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.7")

// kernel has what it is given.
type kernel struct {
	mu  sync.Mutex
	set []vip.Address
}

func (k *kernel) Set(_ context.Context, want []vip.Address) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set = want
	return nil
}
func (k *kernel) Held() []vip.Address         { k.mu.Lock(); defer k.mu.Unlock(); return k.set }
func (k *kernel) Adopted() []vip.Address      { return nil }
func (k *kernel) Sweep(context.Context) error { return nil }

// judge grants what it is told, and settles disputes so.
type judge struct {
	right   election.Right
	verdict election.Verdict
	asked   int
	apply   election.Apply
}

func (j *judge) Set([]election.Claim) {}
func (j *judge) Heard(string)         {}
func (j *judge) Yield()               {}
func (j *judge) Resume()              {}
func (j *judge) Verify(_ string, settled func(election.Verdict)) {
	j.asked++
	settled(j.verdict)
}
func (j *judge) Run(ctx context.Context, apply election.Apply) error {
	j.apply = apply
	err := apply(ctx, []election.Right{j.right})
	<-ctx.Done()
	return err
}

type fixed []netip.Addr

func (f fixed) Watch(ctx context.Context, changed func([]netip.Addr)) error {
	changed(f)
	<-ctx.Done()
	return nil
}

// hearing is a node that holds the control plane's address on a segment, and what it told users.
type hearing struct {
	*main.LAN
	*segment
	holder *agent.Holder
	judge  *judge
	told   []string

	ofService *judge // nil without Services
	events    *record.FakeRecorder
}

// service makes Services of which the node has one with the address served.
func (h *hearing) service(log *slog.Logger) (*agent.Services, *agent.Reporter) {
	client := fake.NewClientset(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{
			annotations.LoadBalancerIPs: served.String(), annotations.AllowReconcileWithoutEndpoints: "true",
		}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	})
	h.ofService, h.events = &judge{right: election.Right{Claim: served.String(), Failover: true}}, record.NewFakeRecorder(10)
	policy := agent.Policy{ClassLegacy: true, Link: "eth0", Bits4: 32}
	reporter := agent.NewReporter(agent.ReporterConfig{Node: "n1", Client: client, Events: h.events, Logger: log})
	return agent.NewServices(agent.ServicesConfig{
		Node: "n1", Mode: "ARP", Policy: policy, Client: client, Holder: h.holder, Elector: h.ofService, Reporter: reporter, StayAtStop: true, Logger: log,
	}), reporter
}

// hear starts a node with a right to the control plane's address; with says what else it has.
func hear(t *testing.T, right election.Right, with ...string) *hearing {
	h := &hearing{segment: &segment{in: make(chan []byte), end: make(chan struct{})}, judge: &judge{right: right}}
	log := slog.New(slog.DiscardHandler)
	lan, err := l2.New(l2.Config{Network: h.segment, Heard: func(f l2.Heard) { h.Heard(f) }})
	if err != nil {
		t.Fatal(err)
	}
	var plane *agent.ControlPlane
	var services *agent.Services
	h.holder = agent.NewHolder(agent.HolderConfig{
		Datapath: &kernel{}, Announcers: []agent.Announcer{lan}, Prober: lan, Logger: log,
		Changed: func(s []agent.State) {
			plane.Changed(s)
			if services != nil {
				services.Changed(s)
			}
		},
	})
	plane = agent.NewControlPlane(agent.ControlPlaneConfig{
		Resolver: fixed{held}, Place: func(a netip.Addr) vip.Address { return vip.Address{Prefix: netip.PrefixFrom(a, 32), Link: "eth0"} },
		Elector: h.judge, Holder: h.holder, StayAtStop: true, Tell: func(e agent.Event) { h.told = append(h.told, e.Text) }, Logger: log,
	})
	tasks := []func(context.Context) error{lan.Run, h.holder.Run, plane.Run}
	if slices.Contains(with, "a Service") {
		var reporter *agent.Reporter
		services, reporter = h.service(log)
		tasks = append(tasks, reporter.Run, services.Run)
	}
	h.LAN = main.NewLAN(lan, h.holder, plane, services, log)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i, run := range tasks {
		running.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(i, err)
			}
		})
		synctest.Wait()
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return h
}

// expect compares what users were told and how many frames were sent since from.
func (h *hearing) expect(t *testing.T, from int32, frames int32, told ...string) {
	t.Helper()
	synctest.Wait()
	if n := h.sent.Load() - from; n != frames {
		t.Errorf("%d frames were sent, not %d", n, frames)
	}
	if d := cmp.Diff(told, h.told); d != "" {
		t.Error(d)
	}
}

func TestLAN(t *testing.T) {
	sure := election.Right{Claim: "control-plane", Failover: true}
	rested := func(t *testing.T) (*hearing, int32) {
		h := hear(t, sure)
		time.Sleep(3100 * time.Millisecond) // the next refresh is later
		synctest.Wait()
		return h, h.sent.Load()
	}
	for name, f := range map[string]func(*testing.T){
		"a stranger's claim is told, and the address is defended": func(t *testing.T) {
			h, sent := rested(t)
			h.says(l2.Claim, held)
			h.expect(t, sent, 2, "control plane: 192.0.2.1 is also used by 02:00:00:00:00:aa")
		},
		"who only asks has not taken it": func(t *testing.T) {
			h, sent := rested(t)
			h.says(l2.Query, held)
			h.expect(t, sent, 0)
		},
		"who was there before lets the probe's finding be forgotten": func(t *testing.T) {
			h := hear(t, election.Right{Claim: "control-plane"})
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			h.says(l2.Claim, held)
			h.expect(t, h.sent.Load(), 0, "control plane: 192.0.2.1: 192.0.2.1 on eth0 is used by 02:00:00:00:00:aa")
			if s := h.holder.States(); len(s) != 1 || s[0].Phase != agent.Conflict {
				t.Errorf("it is %+v", s)
			}
		},
		"a successor that comes a moment after the probe was not there before": func(t *testing.T) {
			h := hear(t, election.Right{Claim: "control-plane"})
			h.Station(func(mac string) string { return map[string]string{other.String(): "n2"}[mac] })
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			if err := h.judge.apply(t.Context(), []election.Right{{Claim: "control-plane", Passing: true}}); err != nil {
				t.Error(err)
			}
			h.says(l2.Claim, held)
			h.expect(t, h.sent.Load(), 0)
			if s := h.holder.States(); len(s) != 1 || s[0].Phase != agent.Quiet {
				t.Errorf("it is %+v", s)
			}
		},
		"a member that answers a probe late is no stranger": func(t *testing.T) {
			h := hear(t, election.Right{Claim: "control-plane"})
			h.Station(func(mac string) string { return map[string]string{other.String(): "n2"}[mac] })
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			sent := h.sent.Load()
			h.says(l2.Claim, held)
			h.expect(t, sent, 2) // the former holder is put right
			if s := h.holder.States(); len(s) != 1 || s[0].Phase != agent.Held {
				t.Errorf("it is %+v", s)
			}
		},
		"what members say is left out of probes as far as it should be": func(t *testing.T) {
			h := hear(t, sure)
			probe := func(member, past bool, kind l2.Kind) bool {
				h.Station(func(mac string) string { return map[bool]string{true: "n2"}[member] })
				done, key := make(chan error, 1), vip.Key{Addr: served, Link: "eth0"}
				go func() { done <- h.Prober(past).Probe(t.Context(), key) }()
				synctest.Wait()
				h.says(kind, served)
				return <-done == nil
			}
			for _, c := range []struct {
				member, past bool
				kind         l2.Kind
				free         bool
			}{
				{false, false, l2.Claim, false}, {false, true, l2.Claim, false}, {false, true, l2.Query, false},
				{true, false, l2.Claim, false}, {true, false, l2.Query, true}, {true, true, l2.Claim, true}, {true, true, l2.Query, true},
			} {
				if free := probe(c.member, c.past, c.kind); free != c.free {
					t.Errorf("%+v: it is taken for free: %v", c, free)
				}
			}
		},
		"another member's claim is the lease's affair, once the hand-over is long ago": func(t *testing.T) {
			h, sent := rested(t)
			key, now := vip.Key{Addr: held, Link: "eth0"}, time.Now()
			h.judge.verdict = election.Lost
			h.Dispute(l2.Heard{Key: key, Kind: l2.Claim, MAC: other, At: now, Since: now.Add(-3 * time.Second)}, "n2")
			lost := "control plane: 192.0.2.1 given up: node n2 uses it, and the lease is not this node's any more"
			h.expect(t, sent, 0, lost) // who has lost it defends nothing
			h.judge.verdict = election.Confirmed
			h.Dispute(l2.Heard{Key: key, Kind: l2.Claim, MAC: other, At: now, Since: now.Add(-3 * time.Second)}, "n2")
			h.expect(t, sent, 2, lost)
			if h.judge.asked != 2 {
				t.Errorf("the lease was asked %d times", h.judge.asked)
			}
		},
		"a stranger's claim of a Service's address is told to its owner, and the address is defended": func(t *testing.T) {
			h := hear(t, sure, "a Service")
			time.Sleep(5 * time.Second) // both were refreshed
			synctest.Wait()
			sent := h.sent.Load()
			h.says(l2.Claim, served)
			h.expect(t, sent, 2)
			var told []string
			for len(h.events.Events) > 0 {
				told = append(told, <-h.events.Events)
			}
			want := []string{"Normal Held Held by n1 with ARP", "Warning AddressTrouble 192.0.2.7 is also used by 02:00:00:00:00:aa"}
			if d := cmp.Diff(want, told); d != "" {
				t.Error(d)
			}
		},
		"another member's claim is the affair of the lease that the address is under": func(t *testing.T) {
			h := hear(t, sure, "a Service")
			time.Sleep(time.Second)
			for _, addr := range []netip.Addr{served, served, held, netip.MustParseAddr("192.0.2.8")} {
				h.Dispute(l2.Heard{Key: vip.Key{Addr: addr, Link: "eth0"}, Kind: l2.Claim, MAC: other, At: time.Now()}, "n2")
			}
			if h.ofService.asked != 2 || h.judge.asked != 1 {
				t.Errorf("the lease of Services was asked %d times, the control plane's %d times", h.ofService.asked, h.judge.asked)
			}
		},
		"a former holder is put right, and nobody is asked": func(t *testing.T) {
			h, sent := rested(t)
			now := time.Now()
			h.Dispute(l2.Heard{Key: vip.Key{Addr: held, Link: "eth0"}, Kind: l2.Claim, MAC: other, At: now, Since: now.Add(-time.Second)}, "n2")
			h.expect(t, sent, 2)
			if h.judge.asked != 0 {
				t.Error("the lease was asked")
			}
		},
		"a stranger is no successor, where members are known": func(t *testing.T) {
			h, _ := rested(t)
			heard, stop, err := h.Listener().Listen(vip.Key{Addr: held, Link: "eth0"})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			nobody, n2 := func(string) string { return "" }, func(mac string) string { return map[string]string{other.String(): "n2"}[mac] }
			for _, test := range []struct {
				station func(string) string
				on      string // the link where all members are known
				want    agent.Said
			}{{nobody, "eth0", agent.Misused}, {n2, "eth0", agent.Announced}, {nobody, "eth1", agent.Announced}} {
				h.Station(test.station, test.on)
				h.says(l2.Claim, held)
				select {
				case said := <-heard:
					if said != test.want {
						t.Errorf("where members are known on %s, it is taken for %s, want %s", test.on, said, test.want)
					}
				default:
					t.Error("it is not heard")
				}
			}
		},
		"a successor that asks, and one that announces": func(t *testing.T) {
			h, _ := rested(t)
			heard, stop, err := h.Listener().Listen(vip.Key{Addr: held, Link: "eth0"})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			for kind, want := range map[l2.Kind]agent.Said{l2.Query: agent.Probed, l2.Claim: agent.Announced} {
				h.says(kind, held)
				select {
				case said := <-heard:
					if said != want {
						t.Errorf("%s is taken for %v", kind, said)
					}
				default:
					t.Errorf("%s is not heard", kind)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
}
