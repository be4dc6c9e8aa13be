package provider_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	"daymark/provider"
)

const rackRules = `
nodeBGP:
  prefix: bgp.example.org
  rules:
  - name: rack-a
    nodes: topology.kubernetes.io/zone=rack-a
    localASN: 4200000000-4200000003
    passwordSecret: network/tor
    peers:
    - {address: 10.0.1.1, asn: 65001}
    - {address: "fd00:1::1", asn: 65001}
  - name: rack-b
    nodes: topology.kubernetes.io/zone in (rack-b)
    localASN: 65010
    multihop: true
    peers:
    - address: 10.0.2.1
      asn: "65002"
`

func rackNode(name, zone string, addrs ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"topology.kubernetes.io/zone": zone}, Annotations: map[string]string{"other.example/key": "kept"},
	}}
	for _, a := range addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

// rack is a controller on a fake API server.
type rack struct {
	t      *testing.T
	client *fake.Clientset
	rules  atomic.Value
	events *record.FakeRecorder
}

func startRack(t *testing.T, rules string, objects ...*corev1.Node) *rack {
	t.Helper()
	r := &rack{t: t, client: fake.NewClientset(), events: record.NewFakeRecorder(100)}
	r.rules.Store(rules)
	for _, n := range objects {
		r.create(n)
	}
	r.run()
	return r
}

func (r *rack) create(n *corev1.Node) {
	r.t.Helper()
	if _, err := r.client.CoreV1().Nodes().Create(r.t.Context(), n, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// run runs a controller until stop, or the test's end. It watches the Nodes when run returns: the fake API server loses what
// happens between a list and its watch.
func (r *rack) run() (stop func()) {
	r.t.Helper()
	watching := make(chan struct{})
	told := sync.OnceFunc(func() { close(watching) })
	r.client.PrependWatchReactor("nodes", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := r.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		told()
		return true, w, err
	})
	factory := informers.NewSharedInformerFactory(r.client, 0)
	log := slog.New(slog.DiscardHandler)
	source, err := provider.NewNodeBGPRuleSource(r.client, func() ([]byte, error) { return []byte(r.rules.Load().(string)), nil }, log)
	if err != nil {
		r.t.Fatal(err)
	}
	c := provider.NewNodeBGP(provider.NodeBGPOptions{
		Client: r.client, Nodes: factory.Core().V1().Nodes().Informer(), Source: source, Events: r.events, Log: log,
	})
	ctx, cancel := context.WithCancel(r.t.Context())
	factory.StartWithContext(ctx)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-watching
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Error(err)
			}
		case <-time.After(10 * time.Second):
			r.t.Error("the controller doesn't end")
		}
		factory.Shutdown()
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *rack) node(name string) *corev1.Node {
	r.t.Helper()
	n, err := r.client.CoreV1().Nodes().Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// peers shows what a Node says of BGP.
func (r *rack) peers(name string) string {
	r.t.Helper()
	set, err := annotations.ParseNodeBGP("bgp.example.org", r.node(name).Annotations)
	if err != nil && !errors.Is(err, annotations.ErrIncomplete) {
		r.t.Fatal(err)
	}
	var out []string
	for _, p := range set.Peers {
		out = append(out, fmt.Sprintf("%d %s > %d %s %s %v", p.LocalASN, p.Source, p.PeerASN, p.Peer, string(p.Password), p.Multihop))
	}
	return strings.Join(out, "; ")
}

func (r *rack) becomes(name, want string) {
	r.t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for got := r.peers(name); got != want; got = r.peers(name) {
		select {
		case <-tick.C:
		case <-deadline.C:
			r.t.Fatalf("%s: got %q, want %q", name, got, want)
		}
	}
}

func (r *rack) secret(password string) {
	r.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "network", Name: "tor"}, Data: map[string][]byte{"password": []byte(password)}}
	_, err := r.client.CoreV1().Secrets("network").Update(r.t.Context(), s, metav1.UpdateOptions{})
	if err != nil {
		_, err = r.client.CoreV1().Secrets("network").Create(r.t.Context(), s, metav1.CreateOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// asn returns the first number that stands in text.
func asn(text string) string { first, _, _ := strings.Cut(text, " "); return first }

func TestNodeBGPFollowsNodesRulesAndSecrets(t *testing.T) {
	r := startRack(t, rackRules, rackNode("b1", "rack-b", "10.0.2.10", "fd00:2::10"), rackNode("c1", "rack-c", "10.0.3.10"))
	r.becomes("b1", "65010 10.0.2.10 > 65002 10.0.2.1  true")
	if n := patches(r.client); n != 1 {
		t.Errorf("%d patches for one Node", n)
	}
	if got := r.node("c1").Annotations; len(got) != 1 {
		t.Error("a Node without a rule has", got)
	}

	r.create(rackNode("a1", "rack-a", "10.0.1.10", "fd00:1::10"))
	if e := <-r.events.Events; !strings.Contains(e, "network/tor") {
		t.Error("event:", e)
	}
	if got := r.peers("a1"); got != "" {
		t.Error("without its password it has", got)
	}
	r.secret("one\n")
	wait(t, func() bool { return r.peers("a1") != "" })
	drawn := asn(r.peers("a1"))
	want := "%[1]s 10.0.1.10 > 65001 10.0.1.1 %[2]s false; %[1]s fd00:1::10 > 65001 fd00:1::1 %[2]s false"
	r.becomes("a1", fmt.Sprintf(want, drawn, "one"))
	r.secret("two")
	r.becomes("a1", fmt.Sprintf(want, drawn, "two"))

	n := r.node("a1")
	n.Labels["topology.kubernetes.io/zone"] = "rack-c"
	if _, err := r.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.becomes("a1", "")
	wait(t, func() bool { return len(r.node("a1").Annotations) == 1 })
	if r.node("a1").Annotations["other.example/key"] != "kept" {
		t.Error("another's annotation is gone")
	}

	r.rules.Store(strings.Replace(rackRules, "65010", "nonsense", 1))
	r.rules.Store(strings.Replace(rackRules, "65010", "65011", 1))
	r.becomes("b1", "65011 10.0.2.10 > 65002 10.0.2.1  true")
}

func patches(client *fake.Clientset) int {
	n := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == "patch" {
			n++
		}
	}
	return n
}

func wait(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("not in time")
		}
	}
}

func TestNodeBGPDrawsNumbersThatStay(t *testing.T) {
	rules := strings.Replace(rackRules, "    passwordSecret: network/tor\n", "", 1)
	r := &rack{t: t, client: fake.NewClientset(), events: record.NewFakeRecorder(100)}
	r.rules.Store(rules)
	for _, name := range []string{"a1", "a2", "a3", "a4"} {
		r.create(rackNode(name, "rack-a", "10.0.1.10", "fd00:1::10"))
	}
	stop := r.run()
	drawn := map[string]string{}
	for _, name := range []string{"a1", "a2", "a3", "a4"} {
		wait(t, func() bool { return r.peers(name) != "" })
		drawn[name] = asn(r.peers(name))
	}
	if got := slices.Compact(slices.Sorted(maps.Values(drawn))); len(got) != 4 || got[0] != "4200000000" || got[3] != "4200000003" {
		t.Errorf("drew %v", drawn)
	}
	r.create(rackNode("a5", "rack-a", "10.0.1.15", "fd00:1::15"))
	if e := <-r.events.Events; !strings.Contains(e, "every AS number from 4200000000 to 4200000003 is taken") {
		t.Error("event:", e)
	}
	stop()
	stop = r.run()
	defer stop()
	if err := r.client.CoreV1().Nodes().Delete(t.Context(), "a2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return asn(r.peers("a5")) == drawn["a2"] })
	for _, name := range []string{"a1", "a3", "a4"} {
		if got := asn(r.peers(name)); got != drawn[name] {
			t.Errorf("%s had %s and has %s after a restart", name, drawn[name], got)
		}
	}
}

func TestNodeBGPLeavesWhatOthersWrote(t *testing.T) {
	node := rackNode("b1", "rack-b", "10.0.2.10")
	node.Annotations["bgp.example.org/bgp-peers-0-peer-ip"] = "192.0.2.1"
	r := startRack(t, rackRules, node)
	if e := <-r.events.Events; !strings.Contains(e, "bgp-peers-0-peer-ip") || !strings.Contains(e, "somebody else") {
		t.Error("event:", e)
	}
	if got := r.node("b1").Annotations; len(got) != 2 {
		t.Error("the Node has", got)
	}
	n := r.node("b1")
	delete(n.Annotations, "bgp.example.org/bgp-peers-0-peer-ip")
	n.Annotations["bgp.example.org/bgp-peers-1-peer-ip"] = "192.0.2.9"
	if _, err := r.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.becomes("b1", "65010 10.0.2.10 > 65002 10.0.2.1  true")
	r.rules.Store("nodeBGP: {}")
	wait(t, func() bool { return len(r.node("b1").Annotations) == 2 })
	if r.node("b1").Annotations["bgp.example.org/bgp-peers-1-peer-ip"] != "192.0.2.9" {
		t.Error("another's key is gone")
	}
}

func TestParseNodeBGPRulesNamesEveryFault(t *testing.T) {
	_, err := provider.ParseNodeBGPRules([]byte(`
apiKey: not ours
nodeBGP:
  prefix: "no prefix"
  rules:
  - nodes: "a in ("
    localASN: 9-1
    passwordSecret: a/b/c
    peers: [{address: 10.0.0.256, asn: 0}, {address: 10.0.0.1, asn: 1-2}, {address: 10.0.0.1, asn: 1}]
  - localASN: 0
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"nodeBGP.prefix", "rules[0].nodes", "rules[0].localASN", "rules[0].passwordSecret", "peers[0].address", "peers[0].asn", "peers[1].asn", "peers[2].address",
		"rules[1].localASN", "rules[1].peers",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ndoes not name %s", err, want)
		}
	}
	if rules, err := provider.ParseNodeBGPRules([]byte("apiKey: x")); err != nil || !cmp.Equal(len(rules.Rules), 0) {
		t.Errorf("a file without the key: %v, %v", rules, err)
	}
	if _, err := provider.ParseNodeBGPRules([]byte("nodeBGP: {rule: []}")); err == nil {
		t.Error("a mistyped key is taken")
	}
}

func FuzzParseNodeBGPRules(f *testing.F) {
	f.Add([]byte(rackRules))
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := provider.ParseNodeBGPRules(text)
		if err != nil && len(rules.Rules) > 0 {
			t.Error("rules and an error")
		}
	})
}

// vendorSource wants the same of every Node and owns a prefix.
type vendorSource struct{ want map[string]string }

func (vendorSource) Replay([]*corev1.Node) {}
func (vendorSource) Run(ctx context.Context, _ func(...string)) error {
	<-ctx.Done()
	return nil
}
func (s vendorSource) Wanted(*corev1.Node) (map[string]string, error) { return s.want, nil }
func (vendorSource) Gone(string)                                      {}
func (vendorSource) Owns(key string) bool                             { return strings.HasPrefix(key, "vendor.example/") }

func TestNodeBGPReplacesWhatItsSourceOwns(t *testing.T) {
	client := fake.NewClientset()
	n := rackNode("a1", "rack-a", "10.0.1.10")
	n.Annotations["vendor.example/peer-ip"], n.Annotations["vendor.example/old"] = "10.0.0.1", "another's"
	if _, err := client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	c := provider.NewNodeBGP(provider.NodeBGPOptions{
		Client: client, Nodes: factory.Core().V1().Nodes().Informer(), Source: vendorSource{map[string]string{"vendor.example/peer-ip": "10.0.0.2"}},
		Events: record.NewFakeRecorder(10), Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	want := map[string]string{
		"other.example/key": "kept", "vendor.example/peer-ip": "10.0.0.2", "vendor.example/old": "another's", annotations.NodeBGPKeys: "vendor.example/peer-ip",
	}
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := client.CoreV1().Nodes().Get(t.Context(), "a1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if maps.Equal(now.Annotations, want) {
			break
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal(now.Annotations)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	factory.Shutdown()
}
