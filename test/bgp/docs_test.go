package bgp_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
	"daymark/test/router"
)

// block returns the first block of docs/bgp.md in a language, with the addresses of a lab.
func block(t *testing.T, language string, addresses *strings.Replacer) string {
	t.Helper()
	_, after, ok := strings.Cut(string(require.Value(os.ReadFile("../../docs/bgp.md"))(t)), "```"+language+"\n")
	text, _, closed := strings.Cut(after, "```")
	if !ok || !closed {
		t.Fatalf("docs/bgp.md has no block of %s", language)
	}
	return addresses.Replace(text)
}

// TestDocs runs what docs/bgp.md tells the reader to configure, with FRR as one router and BIRD as the other.
func TestDocs(t *testing.T) {
	t.Parallel()
	require.Tool(t, "bird", "birdc")
	lab, _ := netns.Lan(t, "node", "one", "two")
	node, one, two := lab.Host("node"), lab.Host("one"), lab.Host("two")
	addresses := strings.NewReplacer("10.0.1.10", node.Addr().String(), "10.0.1.1", one.Addr().String(), "10.0.1.2", two.Addr().String())
	router.RequireFRR(t)
	first := &frr{require.Value(router.StartFRR(t.Context(), one, block(t, "frr", addresses)))(t), t}
	second := require.Value(router.StartBIRD(t.Context(), two, "router id "+two.Addr().String()+";\n"+block(t, "bird", addresses)))(t)
	peers := grepLine(block(t, "sh", addresses), "bgp_peers=")
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("203.0.113.9/32"))
	s.configure(settings{ASN: 65000, Peers: strings.TrimPrefix(peers, "bgp_peers=")})
	s.up(one.Addr().String(), two.Addr().String())
	first.has(10*time.Second, "ipv4", "192.0.2.10/32")
	eventually(t, 10*time.Second, "BIRD has the path", func() bool {
		return birdRoutes(t, second, "master4") == "map[192.0.2.10/32:["+node.Addr().String()+"]]"
	})
	for _, host := range []*netns.Host{one, two} {
		eventually(t, 10*time.Second, "BFD up with "+host.Name(), func() bool { return s.peer(host.Addr().String()).BFD == "up" })
	}
}
