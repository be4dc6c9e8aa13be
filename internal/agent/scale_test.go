package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"daymark/internal/agent"
	"daymark/internal/election"
	"daymark/internal/vip"
)

// counter is a room that only remembers its set.
type counter struct{ set chan []vip.Address }

func (c counter) Set(_ context.Context, want []vip.Address) error {
	select {
	case <-c.set:
	default:
	}
	c.set <- want
	return nil
}

func (c counter) Held() []vip.Address         { return nil }
func (c counter) Adopted() []vip.Address      { return nil }
func (c counter) Sweep(context.Context) error { return nil }

// startMany runs an agent that holds n Services, and returns its client and what is announced, newest last.
func startMany(tb testing.TB, n int) (*fake.Clientset, chan []vip.Address) {
	tb.Helper()
	client := fake.NewClientset()
	quiet := slog.New(slog.DiscardHandler)
	wire := counter{make(chan []vip.Address, 1)}
	h := agent.NewHolder(agent.HolderConfig{
		Datapath: counter{make(chan []vip.Address, 1)}, Announcers: []agent.Announcer{wire}, Logger: quiet,
	})
	reporter := agent.NewReporter(agent.ReporterConfig{Node: "n1", Client: client, Events: &record.FakeRecorder{}, LeaveStatus: true, Logger: quiet})
	always := election.NewAlways("n1", quiet)
	s := agent.NewServices(agent.ServicesConfig{
		Node: "n1", Mode: "BGP", Policy: defaultPolicy(), Client: client, Holder: h, Elector: always,
		Reporter: reporter, Logger: quiet,
	})
	for i := range n {
		svc := numbered(i)
		must(tb, client.Tracker().Add(svc))
		must(tb, client.Tracker().Add(slice(svc.Name, 0, "n1")))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- h.Run(ctx) }()
	go func() { done <- reporter.Run(ctx) }()
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		for range 3 {
			must(tb, <-done)
		}
	})
	for len(<-wire.set) < n {
	}
	return client, wire.set
}

func numbered(i int) *corev1.Service {
	addr := netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
	return service(fmt.Sprintf("svc-%d", i), addr.String())
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// A change of one Service among a thousand, from its event to its announcement.
func BenchmarkOneChangeAmongThousand(b *testing.B) {
	client, announced := startMany(b, 1000)
	var took time.Duration
	i := 0
	for b.Loop() {
		i++
		svc := numbered(7)
		want := netip.AddrFrom4([4]byte{204, byte(i >> 16), byte(i >> 8), byte(i)})
		svc.Annotations["kube-vip.io/loadbalancerIPs"] = want.String()
		began := time.Now()
		if _, err := client.CoreV1().Services("default").Update(b.Context(), svc, metav1.UpdateOptions{}); err != nil {
			b.Fatal(err)
		}
		for set := range announced {
			if contains(set, vip.Address{Prefix: netip.PrefixFrom(want, 32), Link: "eth0"}) {
				break
			}
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Microseconds())/float64(i), "µs/change")
}

func TestThousandServicesAreHeldSoon(t *testing.T) {
	began := time.Now()
	startMany(t, 1000)
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %s", d)
	} else {
		t.Log("took", d)
	}
}
