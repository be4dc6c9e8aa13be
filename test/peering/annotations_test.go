package peering_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/internal/bgp"
	"daymark/test/controlplane"
	"daymark/test/require"
	"daymark/test/router"
)

const prefix = "bgp.example"

// keys are the annotations of a peer: of the indexed generation, or of the plain one where the index is negative.
func keys(index int, node *controlplane.Node, peer string) map[string]any {
	at := prefix + "/"
	if index >= 0 {
		at += fmt.Sprintf("bgp-peers-%d-", index)
	}
	return map[string]any{at + "node-asn": "65000", at + "src-ip": node.Addr().String(), at + "peer-asn": "65001", at + "peer-ip": peer}
}

// annotate merges annotations into a Node; nil removes one.
func (b *bed) annotate(node *controlplane.Node, annotations ...map[string]any) {
	b.t.Helper()
	all := map[string]any{}
	for _, a := range annotations {
		maps.Copy(all, a)
	}
	patch := require.Value(json.Marshal(map[string]any{"metadata": map[string]any{"annotations": all}}))(b.t)
	require.Value(b.api.CoreV1().Nodes().Patch(b.t.Context(), node.Name(), types.MergePatchType, patch, metav1.PatchOptions{}))(b.t)
}

// session returns how an agent's session with a peer stands.
func (b *bed) session(node *controlplane.Node, peer string) (bgp.PeerState, bool) {
	b.t.Helper()
	_, peers := b.view(node)
	for _, p := range peers {
		if p.Peer == peer {
			return p, true
		}
	}
	return bgp.PeerState{}, false
}

// established waits for the session with a peer.
func (b *bed) established(node *controlplane.Node, peer string) bgp.PeerState {
	b.t.Helper()
	var p bgp.PeerState
	b.eventually(20*time.Second, func() string { return fmt.Sprintf("%+v", p) }, func() bool {
		p, _ = b.session(node, peer)
		return p.Established()
	})
	return p
}

// TestAnnotations has agents wait for BGP annotations on their Node and follow every change of them; then the ccm writes them.
func TestAnnotations(t *testing.T) {
	t.Parallel()
	b := newBed(t, "remote-as external")
	n1, n2 := b.nodes[0], b.nodes[1]
	second := b.secondRouter("spare", "")
	before := b.nodeWatches()
	b.start(n2, "--controlplane", "--address="+controlPlaneAddr, "--annotations="+prefix)
	b.start(n1, "--services", "--annotations="+prefix)
	b.serve("web", web, cluster, "n1")
	t.Run("waits", func(t *testing.T) { b.with(t).waits(before) })
	t.Run("both generations", func(t *testing.T) {
		b := b.with(t)
		b.annotate(n1, keys(0, n1, b.peer))
		b.annotate(n2, keys(-1, n2, b.peer))
		b.established(n1, b.peer)
		b.by(10*time.Second, web, "n1")
		b.established(n2, b.peer)
		b.by(10*time.Second, controlPlaneAddr, "n2")
		if text := b.page(n1, "/readyz"); !strings.Contains(text, "[+] bgp") {
			t.Errorf("readyz says %s", text)
		}
	})
	t.Run("follows", func(t *testing.T) { b.with(t).follows(second) })
	t.Run("broken, incomplete, removed", func(t *testing.T) { b.with(t).broken(second) })
	b.stop()
	t.Run("controller", func(t *testing.T) { b.with(t).controller() })
	b.stop()
}

// secondRouter starts a BIRD beside the FRR, on a host of that name, and returns its address. more is what it says of every node.
func (b *bed) secondRouter(name, more string) string {
	b.t.Helper()
	require.Tool(b.t, "bird", "birdc")
	host := require.Value(b.lab.AddHost(name, b.rack))(b.t)
	config := fmt.Sprintf("router id %s;\nprotocol device {}\n", host.Addr())
	for _, n := range b.nodes {
		config += fmt.Sprintf("protocol bgp %s { local as 65001; neighbor %s external; %s ipv4 { import all; export none; }; }\n", n.Name(), n.Addr(), more)
	}
	require.Value(router.StartBIRD(b.t.Context(), host, config))(b.t)
	return host.Addr().String()
}

// nodeWatches is how many watches of Nodes the API server serves.
func (b *bed) nodeWatches() int {
	b.t.Helper()
	text := string(require.Value(b.api.RESTClient().Get().AbsPath("/metrics").DoRaw(b.t.Context()))(b.t))
	total := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "apiserver_longrunning_requests{") && strings.Contains(line, `resource="nodes"`) && strings.Contains(line, `verb="WATCH"`) {
			n := 0
			if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &n); err == nil {
				total += n
			}
		}
	}
	return total
}

// waits sees that nothing is announced or peered with before all keys are there, that readyz says so, and that the end comes at once.
func (b *bed) waits(watches int) {
	n1, n2 := b.nodes[0], b.nodes[1]
	for _, n := range b.nodes {
		b.eventually(20*time.Second, func() string { return b.page(n, "/readyz") }, func() bool {
			return strings.Contains(b.page(n, "/readyz"), "waiting for BGP annotations")
		})
	}
	incomplete := keys(0, n1, b.peer)
	delete(incomplete, prefix+"/bgp-peers-0-peer-asn")
	b.annotate(n1, incomplete)
	b.eventually(5*time.Second, func() string { return b.page(n1, "/readyz") }, func() bool {
		return strings.Contains(b.page(n1, "/readyz"), "bgp-peers-0-peer-asn")
	})
	if !strings.Contains(b.page(n1, "/metrics"), "daymark_bgp_waiting 1") {
		b.t.Error("the metric does not say that it waits")
	}
	// n1 follows all Nodes for its Services; n2 needs none but its own.
	b.eventually(10*time.Second, func() string { return fmt.Sprintf("%d watches of Nodes more", b.nodeWatches()-watches) }, func() bool {
		return b.nodeWatches()-watches == 3
	})
	if got := b.announcers(web) + b.announcers(controlPlaneAddr); got != "" {
		b.t.Errorf("announced by %s", got)
	}
	begun := time.Now()
	require.NoError(b.t, b.agents["n2"].Stop(b.t.Context()))
	if took := time.Since(begun); took > 2*time.Second {
		b.t.Errorf("SIGTERM while waiting took %s", took)
	}
	b.start(n2, "--controlplane", "--address="+controlPlaneAddr, "--annotations="+prefix)
}

// follows changes what the annotations say while a session is up, which must stay up.
func (b *bed) follows(second string) {
	n1 := b.nodes[0]
	since := b.established(n1, b.peer).Since
	untouched := func(what string) {
		b.t.Helper()
		if p, _ := b.session(n1, b.peer); !p.Established() || !p.Since.Equal(since) || p.Flaps > 0 {
			b.t.Errorf("%s: the other peer was touched: %+v", what, p)
		}
	}
	within := func(what string, do func(), ok func() bool) {
		b.t.Helper()
		begun := time.Now()
		do()
		b.eventually(10*time.Second, func() string { return what }, ok)
		took := time.Since(begun)
		b.t.Logf("annotations: %s after %s", what, took.Round(time.Millisecond))
		if took > time.Second {
			b.t.Errorf("%s took %s", what, took)
		}
	}
	within("a new peer", func() { b.annotate(n1, keys(1, n1, second)) }, func() bool {
		_, there := b.session(n1, second)
		return there
	})
	b.established(n1, second)
	untouched("a new peer")

	// A password that the router hasn't: the session goes, and comes back without it.
	password := prefix + "/bgp-peers-1-bgp-pass"
	within("another password", func() { b.annotate(n1, map[string]any{password: base64.StdEncoding.EncodeToString([]byte("hunter2"))}) }, func() bool {
		p, _ := b.session(n1, second)
		return !p.Established()
	})
	untouched("another password")
	b.annotate(n1, map[string]any{password: nil})
	b.established(n1, second)
	untouched("no password")
}

// broken writes what is wrong, and then removes everything.
func (b *bed) broken(second string) {
	n1 := b.nodes[0]
	since := b.established(n1, b.peer).Since
	b.annotate(n1, map[string]any{prefix + "/bgp-peers-0-peer-asn": "many"})
	b.told("n1", "BGPAnnotationsInvalid", `"many"`)
	b.pause(500 * time.Millisecond)
	if p := b.established(n1, b.peer); !p.Since.Equal(since) {
		b.t.Errorf("a broken value touched the session: %+v", p)
	}
	b.annotate(n1, map[string]any{prefix + "/bgp-peers-0-peer-asn": "65001", prefix + "/bgp-peers-1-peer-ip": nil})
	b.eventually(5*time.Second, func() string { return "the incomplete peer is still there" }, func() bool {
		_, there := b.session(n1, second)
		return !there
	})
	b.told("n1", "BGPAnnotationsIncomplete", "bgp-peers-1-peer-ip")
	if p := b.established(n1, b.peer); !p.Since.Equal(since) {
		b.t.Errorf("a key that went touched another session: %+v", p)
	}
	gone := map[string]any{}
	for index := range 2 {
		for key := range keys(index, n1, b.peer) {
			gone[key] = nil
		}
	}
	b.annotate(n1, gone)
	b.by(5*time.Second, web, "")
	b.eventually(5*time.Second, func() string { return b.page(n1, "/readyz") }, func() bool {
		return strings.Contains(b.page(n1, "/readyz"), "waiting for BGP annotations")
	})
	b.by(time.Second, controlPlaneAddr, "n2")
}
