package agent_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"daymark/internal/agent"
	"daymark/internal/bgp"
)

// recordedSpeaker is a speaker that shows what it was configured with.
type recordedSpeaker struct {
	mu     sync.Mutex
	config *bgp.Config
	calls  int
	refuse error
}

func (s *recordedSpeaker) Configure(_ context.Context, c *bgp.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.refuse == nil {
		s.config = c
	}
	return s.refuse
}

// text shows the configuration, a peer a line.
func (s *recordedSpeaker) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config == nil {
		return ""
	}
	out := fmt.Sprintf("AS %d id %s", s.config.ASN, s.config.RouterID)
	for _, p := range s.config.Peers {
		out += fmt.Sprintf("\n%s AS %d as %d from %s password %q ttl %d port %d bfd %v", p.Name(), p.ASN, p.LocalASN, p.Source, string(p.Password), p.MultihopTTL, p.Port, p.BFD.Enabled)
	}
	return out
}

func (s *recordedSpeaker) becomes(t *testing.T, want string) {
	t.Helper()
	within(t, func() bool { return s.text() == want }, func() string { return cmp.Diff(want, s.text()) })
}

func within(t *testing.T, ok func() bool, why func() string) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal(why())
		}
	}
}

const testPrefix = "bgp.example"

func peerKeys(n int, peer, password string) map[string]string {
	key := func(name string) string { return fmt.Sprintf("%s/bgp-peers-%d-%s", testPrefix, n, name) }
	out := map[string]string{key("node-asn"): "65010", key("src-ip"): "10.0.0.1", key("peer-asn"): "65020", key("peer-ip"): peer}
	if password != "" {
		out[key("bgp-pass")] = base64.StdEncoding.EncodeToString([]byte(password))
	}
	return out
}

func annotate(t *testing.T, client kubernetes.Interface, annotations ...map[string]string) {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Annotations = map[string]string{"other.example/peer-ip": "192.0.2.1"}
	for _, m := range annotations {
		for k, v := range m {
			node.Annotations[k] = v
		}
	}
	if _, err := client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// startPeering runs a Peering until the test ends, and fails if it doesn't end then.
func startPeering(t *testing.T, cfg agent.PeeringConfig) *agent.Peering {
	t.Helper()
	cfg.NodeName, cfg.Namespace, cfg.Logger = "n1", "kube-system", slog.New(slog.DiscardHandler)
	p := agent.NewPeering(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("it doesn't end")
		}
	})
	return p
}

func TestPeeringFollowsTheNode(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", Annotations: peerKeys(0, "10.9.9.9", "")}})
	speaker := &recordedSpeaker{}
	events := record.NewFakeRecorder(100)
	p := startPeering(t, agent.PeeringConfig{Prefix: testPrefix, Client: client, Speaker: speaker, Events: events})
	const waiting = "waiting for BGP annotations"
	if !strings.HasPrefix(p.Waiting(), waiting) {
		t.Errorf("waiting: %q", p.Waiting())
	}

	incomplete := peerKeys(0, "10.0.0.254", "")
	delete(incomplete, testPrefix+"/bgp-peers-0-peer-asn")
	annotate(t, client, incomplete)
	within(t, func() bool { return strings.Contains(p.Waiting(), "bgp-peers-0-peer-asn") }, p.Waiting)
	if speaker.text() != "" {
		t.Error("configured before the keys are complete:", speaker.text())
	}

	one := "AS 65010 id 10.0.0.1\n10.0.0.254 AS 65020 as 65010 from 10.0.0.1 password \"\" ttl 0 port 0 bfd false"
	annotate(t, client, peerKeys(0, "10.0.0.254", ""))
	speaker.becomes(t, one)
	if p.Waiting() != "" {
		t.Errorf("waiting: %q", p.Waiting())
	}

	annotate(t, client, peerKeys(0, "10.0.0.254", ""), peerKeys(1, "10.0.0.253", "hunter2"))
	two := one + "\n10.0.0.253 AS 65020 as 65010 from 10.0.0.1 password \"hunter2\" ttl 0 port 0 bfd false"
	speaker.becomes(t, two)

	broken := peerKeys(1, "10.0.0.256", "hunter2")
	annotate(t, client, peerKeys(0, "10.0.0.254", ""), broken)
	event := <-events.Events
	if !strings.Contains(event, "BGPAnnotationsInvalid") || !strings.Contains(event, "10.0.0.256") || strings.Contains(event, "hunter2") {
		t.Error("event:", event)
	}
	if speaker.text() != two {
		t.Error("a broken value changes the configuration:", speaker.text())
	}

	without := peerKeys(1, "10.0.0.253", "hunter2")
	delete(without, testPrefix+"/bgp-peers-1-peer-ip")
	annotate(t, client, peerKeys(0, "10.0.0.254", ""), without)
	speaker.becomes(t, one)

	annotate(t, client)
	speaker.becomes(t, "")
	within(t, func() bool { return strings.HasPrefix(p.Waiting(), waiting) }, p.Waiting)
}

func TestPeeringJoinsSettingsAndAnnotations(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: peerKeys(0, "10.0.0.254", "")}})
	base, err := bgp.ParsePeers("10.0.0.254:1::5:1179::true,10.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	speaker := &recordedSpeaker{}
	startPeering(t, agent.PeeringConfig{
		Prefix: testPrefix, Client: client, Speaker: speaker,
		Base: bgp.Config{ASN: 65000, RouterID: netip.MustParseAddr("10.1.1.1"), Peers: base},
	})
	speaker.becomes(t, "AS 65010 id 10.1.1.1\n10.0.0.254 AS 65020 as 65010 from 10.0.0.1 password \"\" ttl 5 port 1179 bfd true\n10.0.0.1 AS 7 as 0 from invalid IP password \"\" ttl 0 port 0 bfd false")
}

func TestPeeringReadsPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "tor"}, Data: map[string][]byte{"password": []byte("from secret")}})
	base, err := bgp.ParsePeers("10.0.0.1:1::::::secret=tor,10.0.0.2:1::::::passwordfile=" + file + ",10.0.0.3:1::::::secret=net/none,10.0.0.4:1:plain")
	if err != nil {
		t.Fatal(err)
	}
	speaker := &recordedSpeaker{}
	events := record.NewFakeRecorder(100)
	startPeering(t, agent.PeeringConfig{Client: client, Speaker: speaker, Events: events, Base: bgp.Config{ASN: 1, Peers: base}})
	line := "\n%s AS 1 as 0 from invalid IP password %q ttl 0 port 0 bfd false"
	speaker.becomes(t, "AS 1 id invalid IP"+fmt.Sprintf(line, "10.0.0.1", "from secret")+fmt.Sprintf(line, "10.0.0.2", "from file")+fmt.Sprintf(line, "10.0.0.4", "plain"))
	if event := <-events.Events; !strings.Contains(event, "BGPPasswordMissing") || !strings.Contains(event, "net/none") {
		t.Error("event:", event)
	}
}

func TestPeeringFollowsPasswords(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client := fake.NewClientset()
	secrets := client.CoreV1().Secrets("net")
	secret := func(text string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "net", Name: "tor"}, Data: map[string][]byte{"password": []byte(text)}}
	}
	base, err := bgp.ParsePeers("10.0.0.1:1::::::secret=net/tor,10.0.0.2:1::::::passwordfile=" + file)
	if err != nil {
		t.Fatal(err)
	}
	speaker := &recordedSpeaker{}
	startPeering(t, agent.PeeringConfig{Client: client, Speaker: speaker, Base: bgp.Config{ASN: 1, Peers: base}})
	becomes := func(lines ...string) {
		t.Helper()
		want := "AS 1 id invalid IP"
		for i := 0; i < len(lines); i += 2 {
			want += fmt.Sprintf("\n%s AS 1 as 0 from invalid IP password %q ttl 0 port 0 bfd false", lines[i], lines[i+1])
		}
		speaker.becomes(t, want)
	}
	becomes()
	write(file, "one\n")
	becomes("10.0.0.2", "one")
	if _, err := secrets.Create(t.Context(), secret("first"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("10.0.0.1", "first", "10.0.0.2", "one")
	write(filepath.Join(dir, "new"), "two")
	if err := os.Rename(filepath.Join(dir, "new"), file); err != nil {
		t.Fatal(err)
	}
	becomes("10.0.0.1", "first", "10.0.0.2", "two")
	if _, err := secrets.Update(t.Context(), secret("second"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("10.0.0.1", "second", "10.0.0.2", "two")
	// What was read last counts while there is nothing to read; and what comes back is read.
	if err := errors.Join(os.Remove(file), secrets.Delete(t.Context(), "tor", metav1.DeleteOptions{})); err != nil {
		t.Fatal(err)
	}
	write(file, "three")
	becomes("10.0.0.1", "second", "10.0.0.2", "three")
}

func TestPeeringTellsWhatTheSpeakerRefuses(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: peerKeys(0, "10.0.0.254", "")}})
	speaker := &recordedSpeaker{refuse: errors.New("no such link")}
	events := record.NewFakeRecorder(100)
	startPeering(t, agent.PeeringConfig{Prefix: testPrefix, Client: client, Speaker: speaker, Events: events})
	if event := <-events.Events; !strings.Contains(event, "BGPConfigurationRefused") || !strings.Contains(event, "no such link") {
		t.Error("event:", event)
	}
}

func TestSessionEvents(t *testing.T) {
	events := record.NewFakeRecorder(10)
	tell := agent.SessionEvents(events, "n1")
	tell(bgp.SessionEvent{Peer: "10.0.0.1", Up: true})
	tell(bgp.SessionEvent{Peer: "10.0.0.1", Reason: "hold timer expired"})
	for _, want := range []string{"Normal BGPSessionUp BGP session with 10.0.0.1 is up", "Warning BGPSessionDown BGP session with 10.0.0.1 is down: hold timer expired"} {
		if got := <-events.Events; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
