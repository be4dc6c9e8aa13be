package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// figures are what a program says of itself on its page of metrics: the sum of each over its labels.
type figures map[string]float64

// figuresOf reads the page of the agent on a node.
func figuresOf(ctx context.Context, n *controlplane.Node) (figures, error) {
	client := http.Client{Transport: &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:2112/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	out := figures{}
	for name, value := range eachFigure(response.Body) {
		name, _, _ = strings.Cut(name, "{")
		out[name] += value
	}
	return out, nil
}

// eachFigure yields every line of a page of metrics.
func eachFigure(page io.Reader) func(func(string, float64) bool) {
	return func(yield func(string, float64) bool) {
		lines := bufio.NewScanner(page)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			i := strings.LastIndexByte(lines.Text(), ' ')
			if i < 0 || strings.HasPrefix(lines.Text(), "#") {
				continue
			}
			if value, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil && !yield(lines.Text()[:i], value) {
				return
			}
		}
	}
}

// watches returns how many watches of a resource the API server serves.
func (b *bed) watches(resource string) (n int) {
	b.t.Helper()
	page := require.Value(b.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(b.t.Context()))(b.t)
	for name, value := range eachFigure(strings.NewReader(string(page))) {
		if strings.HasPrefix(name, "apiserver_longrunning_requests{") && strings.Contains(name, `resource="`+resource+`"`) &&
			strings.Contains(name, `verb="WATCH"`) {
			n += int(value)
		}
	}
	return n
}

// memory tells what an agent's memory is made of, in MiB.
func memory(t *testing.T, pid int, f figures) string {
	t.Helper()
	text := require.Value(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t)
	var out []string
	for line := range strings.Lines(string(text)) {
		for _, name := range []string{"VmRSS:", "RssAnon:", "RssFile:"} {
			if value, ok := strings.CutPrefix(line, name); ok {
				kib, _, _ := strings.Cut(strings.TrimSpace(value), " ")
				n := require.Value(strconv.ParseFloat(kib, 64))(t)
				out = append(out, fmt.Sprintf("%s %.1f", strings.TrimSuffix(name, ":"), n/1024))
			}
		}
	}
	for _, name := range []string{"heap_inuse", "heap_alloc", "heap_idle", "heap_released", "stack_inuse", "sys", "next_gc"} {
		out = append(out, fmt.Sprintf("%s %.1f", name, f["go_memstats_"+name+"_bytes"]/(1<<20)))
	}
	return strings.Join(out, ", ")
}

// until asks again every 20 ms until ok, at most so long, and returns how long it took.
func until(t *testing.T, most time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// numbered is the address of Service number i: outside of the LAN's own subnets.
func numbered(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(100 + i/250), byte(1 + i%250)})
}

// serviceSlice is the one EndpointSlice of a Service, with an endpoint on a node.
func serviceSlice(name, node string) *discoveryv1.EndpointSlice {
	yes := true
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"198.19.64.2"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		}},
	}
}

// many creates Services number from to below to, each with an endpoint; without an address where none is wanted yet.
func (b *bed) many(from, to int, address func(int) string) {
	b.t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for i := from; i < to; i++ {
		g.Go(func() error {
			name := fmt.Sprintf("many-%d", i)
			if _, err := b.client.DiscoveryV1().EndpointSlices("default").Create(b.t.Context(), serviceSlice(name, "n1"), metav1.CreateOptions{}); err != nil {
				return err
			}
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
			}}
			if text := address(i); text != "" {
				svc.Annotations = map[string]string{annotations.LoadBalancerIPs: text}
			}
			_, err := b.client.CoreV1().Services("default").Create(b.t.Context(), svc, metav1.CreateOptions{})
			return err
		})
	}
	require.NoError(b.t, g.Wait())
}

// audit is the API server's own record of who asked for what.
type audit struct{ log string }

// newAudit returns the record, and the flags of the API server that writes it.
func newAudit(t *testing.T) (*audit, []string) {
	t.Helper()
	dir := t.TempDir()
	policy, a := filepath.Join(dir, "policy.yaml"), &audit{filepath.Join(dir, "audit.log")}
	require.NoError(t, os.WriteFile(policy, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`), 0o644))
	return a, []string{"--audit-policy-file=" + policy, "--audit-log-path=" + a.log, "--audit-log-mode=blocking"}
}

// asked is one request of an agent.
type asked struct{ from, verb, resource string }

// requests returns how often agents asked for what between two moments. A watch counts when it begins.
func (a *audit) requests(t *testing.T, from, to time.Time) map[asked]int {
	t.Helper()
	f := require.Value(os.Open(a.log))(t)
	defer f.Close()
	out := map[asked]int{}
	for d := json.NewDecoder(f); ; {
		var e struct {
			Stage, Verb, UserAgent   string
			SourceIPs                []string
			RequestReceivedTimestamp metav1.MicroTime
			ObjectRef                struct{ Resource, Subresource string }
		}
		if err := d.Decode(&e); err != nil {
			return out // the end, or a line that is being written
		}
		begins := e.Stage == "ResponseStarted" || e.Verb != "watch"
		if !strings.HasPrefix(e.UserAgent, "vip/") || !begins || len(e.SourceIPs) == 0 ||
			e.RequestReceivedTimestamp.Time.Before(from) || !e.RequestReceivedTimestamp.Time.Before(to) {
			continue
		}
		out[asked{e.SourceIPs[0], e.Verb, strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")}]++
	}
}

// announced returns when each host first announced an address, since a moment.
func (b *bed) announced(addr netip.Addr, since time.Time) netns.History {
	return b.lan.Observer().History(addr, since).Of(netns.Announcement)
}
