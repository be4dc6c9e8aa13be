package peering_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"daymark/annotations"
	"daymark/test/netns"
	"daymark/test/require"
)

// rules is the ccm's cloud config: the Nodes of rack a peer with the router, with a password.
const rules = `
nodeBGP:
  prefix: ` + prefix + `
  rules:
  - name: rack-a
    nodes: topology.kubernetes.io/zone=rack-a
    localASN: 65100-65199
    passwordSecret: network/tor
    peers:
    - {address: %s, asn: 65001}
`

// startCCM starts the controller alone, with the given file as its cloud config.
func (b *bed) startCCM(file string) *netns.Command {
	b.t.Helper()
	c := b.nodes[0].Host.Command(require.Value(product())(b.t).CCM, "--kubeconfig=/etc/kubernetes/admin.conf", "--cloud-config="+file, "--secure-port=0",
		"--controllers=node-bgp-controller", "--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms")
	require.NoError(b.t, c.Start())
	return c
}

// label puts a Node into a rack, or with "" into none.
func (b *bed) label(node, rack string) {
	b.t.Helper()
	value := "null"
	if rack != "" {
		value = fmt.Sprintf("%q", rack)
	}
	b.patchNode(node, `{"metadata":{"labels":{"topology.kubernetes.io/zone":`+value+`}}}`)
}

// password gives both the router and the Secret a password, which agents are to follow.
func (b *bed) password(text string) {
	b.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "network", Name: "tor"}, Data: map[string][]byte{"password": []byte(text)}}
	secrets := b.api.CoreV1().Secrets("network")
	if _, err := secrets.Update(b.t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		require.Value(secrets.Create(b.t.Context(), secret, metav1.CreateOptions{}))(b.t)
	}
	lines := []string{"router bgp 65001"}
	for _, n := range b.nodes {
		lines = append(lines, fmt.Sprintf("neighbor %s password %s", n.Addr(), text))
	}
	require.NoError(b.t, b.frr.Configure(b.t.Context(), lines...))
}

// bgpKeys are the annotations of BGP that a Node has, sorted.
func bgpKeys(node *corev1.Node) []string {
	var out []string
	for key := range node.Annotations {
		if strings.HasPrefix(key, prefix+"/") {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// versions records the sets of BGP keys that a Node goes through.
func (b *bed) versions(ctx context.Context, name string) (seen func() [][]string) {
	b.t.Helper()
	w := require.Value(b.api.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name}))(b.t)
	var all [][]string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			if node, ok := e.Object.(*corev1.Node); ok && e.Type != watch.Deleted {
				if keys := bgpKeys(node); len(all) == 0 || !slices.Equal(all[len(all)-1], keys) {
					all = append(all, keys)
				}
			}
		}
	}()
	return func() [][]string {
		w.Stop()
		<-done
		return all
	}
}

// chain is a ccm with rules, and agents that do what it writes.
type chain struct {
	*bed
	file string // with the rules
	ccm  *netns.Command
}

// write replaces the rules: peers is an address, with more text for more of them.
func (c *chain) write(peers string) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(c.file+".new", []byte(fmt.Sprintf(rules, peers)), 0o600))
	require.NoError(c.t, os.Rename(c.file+".new", c.file))
}

// controller is the whole chain: rules and a Secret, the ccm's annotations, the agents' sessions, the router's table.
func (b *bed) controller() *chain {
	t := b.t
	n1, n2 := b.nodes[0], b.nodes[1]
	c := &chain{bed: b, file: filepath.Join(t.TempDir(), "cloud.yaml")}
	c.write(b.peer)
	require.Value(b.api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "network"}}, metav1.CreateOptions{}))(t)
	b.password("hunter2")
	gone := map[string]any{"other.example/peer-ip": "192.0.2.1"}
	for key := range keys(-1, n2, b.peer) {
		gone[key] = nil
	}
	b.annotate(n2, gone)
	c.ccm = b.startCCM(c.file)
	b.startAll("--services", "--annotations="+prefix)
	seen := b.versions(t.Context(), "n1")
	b.label("n1", "rack-a")
	b.by(30*time.Second, web, "n1")
	if all := seen(); len(all) != 2 || len(all[0]) != 0 || len(all[1]) != 5 {
		t.Errorf("the Node's keys came as %q, not in one patch", all)
	}

	b.label("n2", "rack-a") // a node joins
	b.by(20*time.Second, web, "n1 n2")
	node := require.Value(b.api.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{}))(t)
	set := require.Value(annotations.ParseNodeBGP(prefix, node.Annotations))(t)
	if p := set.Peers[0]; len(set.Peers) != 1 || p.LocalASN < 65100 || p.LocalASN > 65199 || p.Source != n2.Addr() || string(p.Password) != "hunter2" {
		t.Errorf("n2 has %+v", set)
	}

	b.password("hunter3") // the Secret changes
	b.eventually(20*time.Second, func() string { return "no session with the new password" }, func() bool {
		p, _ := b.session(n1, b.peer)
		return p.Established() && p.Flaps == 1
	})

	return c
}

// changes has a rule change, and Nodes while the ccm is away.
func (c *chain) changes() {
	t, b, n1 := c.t, c.bed, c.nodes[0]
	second := b.secondRouter("spare2", `password "hunter3";`) // a rule changes
	since := b.established(n1, b.peer).Since
	c.write(b.peer + ", asn: 65001}\n    - {address: " + second)
	b.established(n1, second)
	if p := b.established(n1, b.peer); !p.Since.Equal(since) {
		t.Errorf("a new peer touched the other: %+v", p)
	}

	// With the ccm away everything goes on; what changed meanwhile counts when it is back.
	require.NoError(t, c.ccm.Stop(t.Context()))
	b.label("n2", "")
	b.pause(time.Second)
	b.by(time.Second, web, "n1 n2")
	b.startCCM(c.file)
	b.by(20*time.Second, web, "n1")
	node := require.Value(b.api.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{}))(t)
	if keys := bgpKeys(node); len(keys) > 0 || node.Annotations[annotations.NodeBGPKeys] != "" || node.Annotations["other.example/peer-ip"] == "" {
		t.Errorf("n2 is left with %v", node.Annotations)
	}
}
