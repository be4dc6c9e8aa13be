package agent_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// fleet is three agents that serve Services and stand for the control plane, on nodes other than the API server's.
type fleet struct {
	*bed
	audit  *audit
	nodes  []*controlplane.Node
	agents []*netns.Command
}

func newFleet(t *testing.T, settings ...string) *fleet {
	record, flags := newAudit(t)
	b := newBedWith(t, flags, "api", "n1", "n2", "n3")
	b.start()
	f := &fleet{bed: b, audit: record, nodes: b.nodes[1:]}
	for _, n := range f.nodes {
		require.NoError(t, n.Register(t.Context(), nil))
		f.agents = append(f.agents, b.agent(n, append([]string{"svc_enable=true", "cp_enable=true",
			"address=" + b.lan.Addr(200).String(), "vip_loglevel=0"}, settings...)...))
	}
	return f
}

// awaitHeld waits until the control plane's address and those of so many Services are held.
func (f *fleet) awaitHeld(services int) {
	f.t.Helper()
	until(f.t, 60*time.Second, fmt.Sprintf("the control plane's address and %d Services held", services), func() bool {
		for _, n := range f.nodes {
			if _, err := figuresOf(f.t.Context(), n); err != nil {
				return false
			}
		}
		_, sum := f.shares()
		return sum == services+1
	})
}

// figures returns those of each node.
func (f *fleet) figures() []figures {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
	defer cancel()
	var out []figures
	for _, n := range f.nodes {
		out = append(out, require.Value(figuresOf(ctx, n))(f.t))
	}
	return out
}

// shares returns how many addresses each node has in its kernel.
func (f *fleet) shares() (shares []int, sum int) {
	for _, of := range f.figures() {
		n := int(of["daymark_datapath_addresses"])
		shares = append(shares, n)
		sum += n
	}
	return shares, sum
}

// uneven returns by how much, as a share of even, the worst of shares is off.
func uneven(shares []int, sum int) (worst float64) {
	even := float64(sum) / float64(len(shares))
	for _, n := range shares {
		worst = max(worst, float64(n)/even-1, 1-float64(n)/even)
	}
	return worst
}

// rest measures for a while what the agents cost when nothing happens, and keeps the bounds. It returns each node's requests a second.
func (f *fleet) rest(services int) (rates []float64) {
	f.t.Helper()
	const long = 40 * time.Second
	began, before := time.Now(), f.figures()
	timer := time.NewTimer(long)
	<-timer.C
	after, took := f.figures(), time.Since(began).Seconds()
	requests := f.audit.requests(f.t, began, time.Now())
	for i, n := range f.nodes {
		sum, list := 0, []string{}
		for r, times := range requests {
			if r.from == n.Host.Addr().String() {
				sum += times
				list = append(list, fmt.Sprintf("%s %s %d", r.verb, r.resource, times))
			}
		}
		slices.Sort(list)
		rate := float64(sum) / took
		rates = append(rates, rate)
		cpu := 100 * (after[i]["process_cpu_seconds_total"] - before[i]["process_cpu_seconds_total"]) / took
		memory := resident(f.t, f.agents[i].Pid())
		f.t.Logf("RESULT %d Services at rest, %s: %.2f requests a second, %.2f %% of a core, %.1f MiB resident, %.0f goroutines (%s)",
			services, n.Name(), rate, cpu, memory, after[i]["go_goroutines"], strings.Join(list, ", "))
		if rate == 0 {
			f.t.Errorf("the audit knows nothing of %s, which renews its lease", n.Name())
		}
		if rate > 2 {
			f.t.Errorf("%s asks the API server %.2f times a second, want at most 2", n.Name(), rate)
		}
		if cpu > 2 {
			f.t.Errorf("%s takes %.2f %% of a core, want at most 2", n.Name(), cpu)
		}
		if memory > 60 {
			f.t.Errorf("%s takes %.1f MiB, want at most 60", n.Name(), memory)
		}
	}
	return rates
}

// sameRates fails where a node asks the API server more often with many Services than with few. A watch that ends while one of the
// two is measured is asked for again: twelve requests in all.
func (f *fleet) sameRates(few, many []float64) {
	f.t.Helper()
	const again = 0.3
	for i, n := range f.nodes {
		if math.Abs(many[i]-few[i]) > again {
			f.t.Errorf("%s asks the API server %.2f times a second with many Services, and %.2f times with few: want the same", n.Name(), many[i], few[i])
		}
	}
}

// resident returns a process's memory in MiB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	text := require.Value(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t)
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// spread takes in that all are held and waits until they are spread evenly.
func (f *fleet) spread(services int) {
	f.t.Helper()
	var shares []int
	var sum int
	took := until(f.t, 20*time.Second, "an even spread", func() bool {
		shares, sum = f.shares()
		return sum == services+1 && uneven(shares, sum) <= 0.1 // and the control plane's address
	})
	f.t.Logf("RESULT %d Services are spread as %v, %.1f %% off even, after %v more", services, shares, 100*uneven(shares, sum), took.Round(10*time.Millisecond))
}

// TestBenchAgents measures what docs/performance.md says of three agents, and keeps the bounds.
func TestBenchAgents(t *testing.T) {
	require.Asked(t, "DAYMARK_BENCH", "make bench")
	f := newFleet(t, "svc_election=true")
	f.awaitHeld(0)
	address := func(i int) string { return numbered(i).String() }
	f.many(0, 10, address)
	f.awaitHeld(10)
	settle := time.NewTimer(10 * time.Second)
	<-settle.C
	few := f.rest(10)
	f.latencies(10, 100)

	began := time.Now()
	f.many(110, 1000, address)
	f.await(110, 1000, began, time.Now())
	f.spread(1000)
	settle.Reset(10 * time.Second)
	<-settle.C
	f.latencies(1000, 100)
	f.sameRates(few, f.rest(1100))
}

// TestBenchOneLease measures the same of agents one of which holds all: it renews three leases.
func TestBenchOneLease(t *testing.T) {
	require.Asked(t, "DAYMARK_BENCH", "make bench")
	f := newFleet(t)
	address := func(i int) string { return numbered(i).String() }
	f.awaitHeld(0)
	f.many(0, 10, address)
	f.awaitHeld(10)
	settle := time.NewTimer(10 * time.Second)
	<-settle.C
	few := f.rest(10)
	f.many(10, 310, address)
	f.awaitHeld(310)
	settle.Reset(10 * time.Second)
	<-settle.C
	f.sameRates(few, f.rest(310))
}

// await waits until the Services number from to below to are announced, which were created between two moments. It tells how long
// after its own creation each was, and how long after the last one's all were; either may be 5 s at most.
func (f *fleet) await(from, to int, began, created time.Time) {
	f.t.Helper()
	list := require.Value(f.client.CoreV1().Services("default").List(f.t.Context(), metav1.ListOptions{}))(f.t)
	late, last := time.Duration(0), began
	for i := from; i < to; i++ {
		addr := numbered(i)
		until(f.t, 10*time.Second, addr.String()+" announced", func() bool { return len(f.announced(addr, began)) > 0 })
		at := f.announced(addr, began)[0].At
		if at.After(last) {
			last = at
		}
		for _, svc := range list.Items {
			if svc.Annotations[annotations.LoadBalancerIPs] == addr.String() {
				// The API server tells whole seconds, rounded down.
				late = max(late, at.Sub(svc.CreationTimestamp.Time))
			}
		}
	}
	all := last.Sub(created)
	f.t.Logf("RESULT %d more Services, which took %v to create: each announced at most %v after its creation (in whole seconds, rounded down), and all %v after the last one's",
		to-from, created.Sub(began).Round(10*time.Millisecond), late.Round(10*time.Millisecond), all.Round(10*time.Millisecond))
	if late > 5*time.Second || all > 5*time.Second {
		f.t.Errorf("announced %v and %v after the creation, want at most 5s", late, all)
	}
}

// latencies creates n more Services, one after the other, gives each its address, and measures from then to its announcement.
func (f *fleet) latencies(from, n int) {
	f.t.Helper()
	var took []time.Duration
	f.many(from, from+n, func(int) string { return "" })
	for i := from; i < from+n; i++ {
		gap := time.NewTimer(time.Duration(rand.N(100)) * time.Millisecond)
		<-gap.C
		addr := numbered(i)
		asked := time.Now()
		f.setAddress(i, addr)
		written := time.Now()
		until(f.t, 5*time.Second, addr.String()+" announced", func() bool { return len(f.announced(addr, asked)) > 0 })
		took = append(took, f.announced(addr, asked)[0].At.Sub(written))
	}
	slices.Sort(took)
	p50, p99 := took[n/2], took[n*99/100]
	f.t.Logf("RESULT from an address written to its announcement, beside %d others: p50 %v, p99 %v, longest %v", from,
		p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), took[n-1].Round(100*time.Microsecond))
	if p50 > 50*time.Millisecond || p99 > 200*time.Millisecond {
		f.t.Errorf("p50 %v and p99 %v, want at most 50ms and 200ms", p50, p99)
	}
}

// setAddress writes the address of a Service as the ccm does.
func (f *fleet) setAddress(i int, addr netip.Addr) {
	f.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, annotations.LoadBalancerIPs, addr)
	_, err := f.client.CoreV1().Services("default").Patch(f.t.Context(), fmt.Sprintf("many-%d", i), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(f.t, err)
}
