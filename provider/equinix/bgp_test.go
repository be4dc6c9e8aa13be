package equinix_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"daymark/provider/equinix"
)

// bgpBed is a source on a fake account, run in a synctest bubble as the controller runs it: who is woken is asked about.
type bgpBed struct {
	t     *testing.T
	api   *fakeAPI
	log   bytes.Buffer
	nodes map[string]*corev1.Node

	mu   sync.Mutex
	have map[string]map[string]string
	told map[string]string
	b    *equinix.BGP
}

func startBGP(t *testing.T, change func(*equinix.BGPOptions), nodes ...*corev1.Node) *bgpBed {
	t.Helper()
	bed := &bgpBed{t: t, api: newFakeAPI(), nodes: map[string]*corev1.Node{}, have: map[string]map[string]string{}, told: map[string]string{}}
	for n := range 3 {
		bed.api.devices = append(bed.api.devices, device(n))
		bed.api.neighbours[uuid(n)] = []equinix.Neighbour{neighbour(n, "Secret0000")}
	}
	o := equinix.BGPOptions{
		API: bed.api, Devices: equinix.NewDevices(bed.api), ASN: 65000, Password: "Secret0000", Nodes: labels.Everything(), Keys: equinix.DefaultKeys(),
		Log: slog.New(slog.NewTextHandler(&bed.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	bed.b = equinix.NewBGP(o)
	for _, n := range nodes {
		bed.nodes[n.Name] = n
		bed.ask(n.Name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- bed.b.Run(ctx, bed.ask) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if strings.Contains(bed.log.String(), "Secret0000") {
			t.Error("the password is logged")
		}
	})
	return bed
}

// ask does what the controller does when it is woken.
func (b *bgpBed) ask(names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		want, err := b.b.Wanted(b.nodes[name])
		if want != nil {
			b.have[name] = want
		}
		delete(b.told, name)
		if err != nil {
			b.told[name] = err.Error()
		}
	}
}

func annotationsOf(n int, password string) map[string]string {
	out := map[string]string{"metal.equinix.com/network-4-private": "10.64.1.0/25"}
	for i, peer := range []string{"169.254.255.1", "169.254.255.2"} {
		at := fmt.Sprintf("metal.equinix.com/bgp-peers-%d-", i)
		maps.Copy(out, map[string]string{
			at + "node-asn": "65000", at + "peer-asn": "65530", at + "peer-ip": peer, at + "src-ip": fmt.Sprintf("10.64.1.%d", 2*n+1),
			at + "bgp-pass": password, at + "peer-multi-hop": "true",
		})
	}
	return out
}

const (
	secret0000 = "U2VjcmV0MDAwMA==" // base64 of Secret0000
	secret1111 = "U2VjcmV0MTExMQ=="
)

func TestBGPIsEnabledReadAndFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBGP(t, nil, node(0, "equinixmetal://"+uuid(0)), node(1, ""))
		synctest.Wait()
		for n := range 2 {
			if d := cmp.Diff(annotationsOf(n, secret0000), b.have[fmt.Sprintf("node-%d", n)]); d != "" {
				t.Errorf("node-%d: %s", n, d)
			}
		}
		// The session was missing: one look, one session, another look.
		if d := cmp.Diff(map[string]int{"EnableBGP": 1, "Devices": 1, "Neighbours": 4, "CreateSession": 2}, b.api.calls); d != "" {
			t.Error(d)
		}
		b.nodes["node-1"] = node(1, "equinixmetal://"+uuid(1)) // which the framework writes
		b.ask("node-1")
		synctest.Wait()
		if n := b.api.count("Neighbours"); n != 4 {
			t.Errorf("%d calls after a Node got the ID of its device", n)
		}
		b.api.set(func() {
			clear(b.api.calls)
			b.api.neighbours[uuid(1)] = []equinix.Neighbour{neighbour(1, "Secret1111")}
		})
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		if d := cmp.Diff(annotationsOf(1, secret1111), b.have["node-1"]); d != "" {
			t.Error("a new password:", d)
		}
		if d := cmp.Diff(map[string]int{"Devices": 1, "Neighbours": 2}, b.api.calls); d != "" {
			t.Error("a period's calls:", d)
		}
	})
}

func TestBGPKeepsWhatItKnowsThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBGP(t, nil, node(0, ""))
		synctest.Wait()
		b.api.set(func() {
			b.api.fail["Neighbours"] = fmt.Errorf("reading: %w", equinix.ErrUnavailable)
			clear(b.api.calls)
		})
		b.nodes["node-2"] = node(2, "")
		b.ask("node-2")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if b.have["node-0"] == nil || b.told["node-0"] != "" || b.have["node-2"] != nil || !strings.Contains(b.told["node-2"], "unavailable") {
			t.Error(b.have, b.told)
		}
		if n := b.api.count("Neighbours"); n > 45 {
			t.Errorf("%d calls in ten minutes of outage", n)
		}
		b.api.set(func() { clear(b.api.fail) })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if b.have["node-2"] == nil || len(b.told) > 0 {
			t.Error("after the outage:", b.have, b.told)
		}
	})
}

func TestBGPOfNodesThatAreNotSelectedIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		selector, err := labels.Parse("pool=1")
		if err != nil {
			t.Fatal(err)
		}
		b := startBGP(t, func(o *equinix.BGPOptions) { o.Nodes = selector }, node(0, ""), node(1, ""))
		synctest.Wait()
		if none := b.have["node-0"]; none == nil || len(none) > 0 || len(b.have["node-1"]) == 0 {
			t.Error(b.have)
		}
		b.nodes["node-1"] = node(1, "")
		b.nodes["node-1"].Labels["pool"] = "other"
		b.ask("node-1")
		if none := b.have["node-1"]; none == nil || len(none) > 0 {
			t.Error(none)
		}
		if n := b.api.count("Neighbours"); n != 2 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestBGPInTheOlderGenerationOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBGP(t, func(o *equinix.BGPOptions) {
			o.Keys = equinix.Keys{
				LocalASN: "metal.equinix.com/node-asn", PeerASN: "metal.equinix.com/peer-asn", PeerIP: "metal.equinix.com/peer-ip",
				SrcIP: "metal.equinix.com/src-ip", Password: "metal.equinix.com/bgp-pass",
			}
		}, node(0, ""))
		synctest.Wait()
		want := map[string]string{
			"metal.equinix.com/node-asn": "65000", "metal.equinix.com/peer-asn": "65530", "metal.equinix.com/peer-ip": "169.254.255.1,169.254.255.2",
			"metal.equinix.com/src-ip": "10.64.1.1", "metal.equinix.com/bgp-pass": secret0000, "metal.equinix.com/peer-multi-hop": "true",
		}
		if d := cmp.Diff(want, b.have["node-0"]); d != "" {
			t.Error(d)
		}
	})
}
