package equinix_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/provider/equinix"
	"daymark/test/metalapi"
)

// memory answers requests from a handler without a network, so that a whole API fits into a bubble of testing/synctest.
type memory struct{ handler http.Handler }

func (m memory) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		if recover() != nil {
			answer, err = nil, errors.New("the connection was closed")
		}
	}()
	inner := r.Clone(r.Context())
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, inner)
	answer = recorder.Result()
	answer.Request = r
	return answer, nil
}

const (
	project = "11111111-1111-4111-8111-111111111111"
	eipTag  = "cluster=one"
)

// eip is the first address that the simulator gives out.
var eip = netip.MustParseAddr("198.19.0.0")

// world is a simulated account with devices that are control-plane nodes, node-0 and so on, and a reservation with the tag.
type world struct {
	t       *testing.T
	api     *metalapi.Server
	client  *equinix.Client
	devices []string

	mu    sync.Mutex // guards what follows
	down  map[netip.AddrPort]bool
	nodes []*corev1.Node
}

func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	w := &world{t: t, down: map[netip.AddrPort]bool{}, api: metalapi.New(metalapi.Config{
		Token: "secret", Project: project, Metro: "da", Public: netip.MustParsePrefix("198.19.0.0/16"),
	})}
	for i := range nodes {
		w.devices = append(w.devices, w.api.AddDevice(metalapi.Device{
			Hostname: fmt.Sprintf("node-%d", i), Private: netip.PrefixFrom(server(i).Addr(), 24),
		}))
		w.nodes = append(w.nodes, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)},
			Spec:       corev1.NodeSpec{ProviderID: "equinixmetal://" + w.devices[i]},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: server(i).Addr().String()}}},
		})
	}
	w.reserve()
	var err error
	w.client, err = equinix.NewClient(equinix.ClientConfig{
		BaseURL: "http://metal.test" + metalapi.Prefix, Project: project, Token: "secret", Transport: memory{w.api},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) reserve() {
	w.t.Helper()
	if _, err := w.api.Reserve("public_ipv4", eipTag); err != nil {
		w.t.Fatal(err)
	}
}

// server is where the API server of node i listens.
func server(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}), 6443)
}

// set makes the API server of a node fail its check, or pass it.
func (w *world) set(i int, well bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[server(i)] = !well
}

func (w *world) isDown(at netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down[at]
}

func (w *world) listNodes() ([]*corev1.Node, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*corev1.Node(nil), w.nodes...), nil
}

// give assigns the address by hand.
func (w *world) give(i int) {
	w.t.Helper()
	if _, err := w.client.Assign(w.t.Context(), w.devices[i], eip); err != nil {
		w.t.Fatal(err)
	}
	w.api.ResetCalls()
}

// where returns the names of the nodes that have the address, with commas; "" for none.
func (w *world) where() string {
	var out []string
	for _, r := range w.api.Reservations() {
		for _, a := range r.Assignments {
			for i, id := range w.devices {
				if strings.HasSuffix(a.AssignedTo.Href, "/"+id) {
					out = append(out, fmt.Sprintf("node-%d", i))
				}
			}
		}
	}
	return strings.Join(out, ",")
}

// is fails the test unless the address is at that node.
func (w *world) is(want string) {
	w.t.Helper()
	if got := w.where(); got != want {
		w.t.Fatalf("the address is at %q, want %q", got, want)
	}
}

// calls returns how many calls were made that change something, and how many in all.
func (w *world) calls() (writes, all int) {
	for call, n := range w.api.Calls() {
		if !strings.HasPrefix(call, "GET") {
			writes += n
		}
		all += n
	}
	return writes, all
}
