package bgp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"daymark/test/netns"
	"daymark/test/require"
	"daymark/test/router"
)

// birdConfig is for a node that has sessions of both families.
const birdConfig = `
router id %[3]s;
protocol device {}
protocol bfd { interface "*" { min rx interval 300 ms; min tx interval 300 ms; multiplier 3; }; }
protocol kernel { ipv4 { import none; export all; }; merge paths yes; }
template bgp nodes {
  local as 65001;
  graceful restart on;
  %[4]s
  password "hunter2";
}
protocol bgp node4 from nodes {
  neighbor %[1]s as 65000;
  ipv4 { import where net ~ [ 192.0.2.0/24{32,32} ]; export none; };
  ipv6 { import where net ~ [ 2001:db8::/64{128,128} ]; export none; };
}
protocol bgp node6 from nodes {
  neighbor %[2]s as 65000;
  ipv6 { import where net ~ [ 2001:db8::/64{128,128} ]; export none; };
}
`

// startBIRD runs a router and a node that has sessions of both families with it.
func startBIRD(t *testing.T, birdBFD, peerBFD string) (*speaker, *router.BIRD, settings) {
	t.Helper()
	require.Tool(t, "bird", "birdc")
	lab, _ := netns.Lan(t, "node", "router")
	node, host := lab.Host("node"), lab.Host("router")
	bird := require.Value(router.StartBIRD(t.Context(), host, fmt.Sprintf(birdConfig, node.Addr(), node.Addr6(), host.Addr(), birdBFD)))(t)
	c := settings{ASN: 65000, Restart: 60 * time.Second, Source: node.Addr(), Peers: fmt.Sprintf(
		"%s:65001:hunter2:::mpbgp_nexthop=auto_sourceip:%s,[%s]:65001:hunter2::::%s", host.Addr(), peerBFD, host.Addr6(), peerBFD)}
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"), addr("203.0.113.1/32"))
	s.configure(c)
	s.up(host.Addr().String(), host.Addr6().String())
	return s, bird, c
}

func birdRoutes(t *testing.T, b *router.BIRD, table string) string {
	t.Helper()
	return fmt.Sprint(require.Value(b.Routes(t.Context(), table))(t))
}

func TestBIRDKeepsPathsOverAnUpgrade(t *testing.T) {
	t.Parallel()
	s, bird, c := startBIRD(t, "", "")
	want := fmt.Sprintf("map[192.0.2.10/32:[%s]]", s.host.Addr())
	eventually(t, 10*time.Second, "BIRD has "+want, func() bool { return birdRoutes(t, bird, "master4") == want })
	eventually(t, 10*time.Second, "BIRD has the IPv6 prefix", func() bool {
		return strings.Contains(birdRoutes(t, bird, "master6"), "2001:db8::10/128:["+s.host.Addr6().String())
	})
	s.stop()
	kept := func() {
		t.Helper()
		if got := birdRoutes(t, bird, "master4"); got != want {
			t.Fatalf("BIRD has %s while the agent restarts", got)
		}
	}
	for range 10 {
		settle(t, 200*time.Millisecond)
		kept()
	}
	s = startSpeaker(t, s.host)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"))
	s.configure(c)
	s.up(bird.Host.Addr().String(), bird.Host.Addr6().String())
	settle(t, 3*time.Second)
	kept()
}

func TestBIRDSeesByBFDThatANodeIsGone(t *testing.T) {
	t.Parallel()
	s, bird, _ := startBIRD(t, "bfd on;", "true;300;300;3")
	for _, peer := range []string{bird.Host.Addr().String(), bird.Host.Addr6().String()} {
		eventually(t, 10*time.Second, "BFD up with "+peer, func() bool { return s.peer(peer).BFD == "up" })
	}
	settle(t, 3*time.Second)
	for _, p := range s.report().Peers {
		if p.Flaps > 0 || p.BFD != "up" {
			t.Errorf("not stable: %+v", p)
		}
	}
	begun := time.Now()
	require.NoError(t, s.host.Cut())
	eventually(t, 10*time.Second, "withdrawn", func() bool { return birdRoutes(t, bird, "master4") == "map[]" })
	took := time.Since(begun)
	t.Logf("FAULT | BGP: node cut off, BIRD with BFD 300 ms × 3 | withdrawn after %s |", took.Round(10*time.Millisecond))
	if took > 2*time.Second { // 0.9 s, and a machine that has other things to do
		t.Errorf("withdrawn after %s", took)
	}
}

// gobgpMain is the program on a router: a GoBGP that listens for the node and writes what it has into a file.
func gobgpMain(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := server.NewBgpServer(server.LoggerOption(slog.New(slog.NewTextHandler(os.Stderr, nil)), nil))
	go s.Serve()
	err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: 65001, RouterId: "198.18.0.11", ListenPort: 1179}})
	families := []*api.AfiSafi{
		{Config: &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true}},
		{Config: &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}, Enabled: true}},
	}
	err = errors.Join(err, s.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: os.Getenv("DAYMARK_BGP_NODE"), PeerAsn: 65000, AuthPassword: "hunter2"},
		Transport: &api.Transport{PassiveMode: true}, AfiSafis: families,
	}}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		var lines []string
		for _, family := range []packet.Family{packet.RF_IPv4_UC, packet.RF_IPv6_UC} {
			_ = s.ListPath(apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family}, func(prefix packet.NLRI, _ []*apiutil.Path) {
				lines = append(lines, prefix.String())
			})
		}
		_ = os.WriteFile(file+".new", []byte(strings.Join(lines, " ")), 0o644)
		_ = os.Rename(file+".new", file)
	}
	return 0
}

// TestGoBGP peers with GoBGP on a port of its own.
func TestGoBGP(t *testing.T) {
	t.Parallel()
	lab, _ := netns.Lan(t, "node", "router")
	node, host := lab.Host("node"), lab.Host("router")
	file := t.TempDir() + "/paths"
	peer := host.Command(require.Value(os.Executable())(t))
	peer.Env, peer.Label = []string{gobgpKey + "=" + file, "DAYMARK_BGP_NODE=" + node.Addr().String()}, "gobgp"
	require.NoError(t, peer.Start())
	s := startSpeaker(t, node)
	s.set(addr("192.0.2.10/32"), addr("2001:db8::10/128"))
	s.configure(settings{ASN: 65000, Peers: fmt.Sprintf("%s:65001:hunter2::1179:mpbgp_nexthop=fixed;mpbgp_ipv6=[%s]", host.Addr(), node.Addr6())})
	s.up(host.Addr().String())
	has := func(want string) {
		t.Helper()
		eventually(t, 10*time.Second, "GoBGP has "+want, func() bool {
			got, _ := os.ReadFile(file)
			return string(got) == want
		})
	}
	has("192.0.2.10/32 2001:db8::10/128")
	s.set(address{Prefix: netip.MustParsePrefix("192.0.2.11/32")})
	has("192.0.2.11/32")
}
