package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"daymark/internal/vip"
)

// Times that GoBGP counts in seconds; its least interval between connection attempts is 2 s.
const (
	connectRetry       = 3
	idleAfterReset     = 1
	selectionDeferral  = 5 // RFC 4724, 4.1: there is nothing to select, only End-of-RIB to wait for
	importPolicy       = "local-only"
	noListener         = -1
	maxPathsPerRequest = 512
)

// router is a GoBGP server: what is said to it, in this package's words. Its methods are called by one goroutine at a time.
type router struct {
	server    *server.BgpServer
	restarted bool
}

// startRouter starts a server that listens on no port, opens no API, and takes no path from a peer. restarted says that an earlier process had the
// same addresses a moment ago, so that peers may keep their paths (RFC 4724, 4.1).
func startRouter(ctx context.Context, is speaks, restarted bool, log *slog.Logger) (*router, error) {
	r := &router{server: server.NewBgpServer(server.LoggerOption(log, nil)), restarted: restarted}
	go r.server.Serve() // ends with StopBgp
	err := r.server.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: is.asn, RouterId: is.routerID.String(), ListenPort: noListener}})
	if err == nil {
		err = r.takeNothing(ctx)
	}
	if err != nil {
		r.stop(false)
		return nil, fmt.Errorf("starting BGP as AS %d, router ID %s: %w", is.asn, is.routerID, err)
	}
	return r, nil
}

// takeNothing refuses every path that is not our own.
func (r *router) takeNothing(ctx context.Context) error {
	own := &api.Policy{Name: importPolicy, Statements: []*api.Statement{{
		Name:       importPolicy,
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}}}
	if err := r.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: own}); err != nil {
		return err
	}
	return r.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_IMPORT, Policies: []*api.Policy{own}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

// stop ends every session. keep lets peers that agreed to graceful restart keep the paths for its time: they get no NOTIFICATION.
func (r *router) stop(keep bool) {
	_ = r.server.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: keep})
	r.server.Stop()
}

func (r *router) add(ctx context.Context, s session) error {
	if err := r.addNextHops(ctx, s); err != nil {
		_ = r.removeNextHops(ctx, s) // what there is of them: all is tried again
		return fmt.Errorf("setting next hops for peer %s: %w", s.name, err)
	}
	if err := r.server.AddPeer(ctx, &api.AddPeerRequest{Peer: r.peer(s)}); err != nil {
		_ = r.removeNextHops(ctx, s)
		return fmt.Errorf("adding peer %s: %w", s.name, err)
	}
	return nil
}

func (r *router) remove(ctx context.Context, s session) error {
	if err := r.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: s.neighbor.String()}); err != nil {
		return fmt.Errorf("removing peer %s: %w", s.name, err)
	}
	if err := r.removeNextHops(ctx, s); err != nil {
		return fmt.Errorf("removing next hops of peer %s: %w", s.name, err)
	}
	return nil
}

// reset ends a session at once because BFD says so; it is tried again.
func (r *router) reset(ctx context.Context, s session, why string) error {
	return r.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: s.neighbor.String(), Communication: why})
}

func (r *router) peer(s session) *api.Peer {
	p := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: s.neighbor.String(), PeerAsn: s.asn, LocalAsn: s.localASN, AuthPassword: string(s.password)},
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry: connectRetry, IdleHoldTimeAfterReset: idleAfterReset,
			HoldTime: uint64(s.hold / time.Second), KeepaliveInterval: uint64(s.keepalive / time.Second),
		}},
		Transport:   &api.Transport{RemotePort: uint32(s.port), BindInterface: s.device},
		TtlSecurity: &api.TtlSecurity{Enabled: s.gtsm > 0, TtlMin: 256 - uint32(max(s.gtsm, 1))},
	}
	if s.local.IsValid() {
		p.Transport.LocalAddress = s.local.String()
	}
	if s.ttl > 0 {
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(s.ttl)}
	}
	if s.restart > 0 {
		p.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(s.restart / time.Second), DeferralTime: selectionDeferral, LocalRestarting: r.restarted,
		}
	}
	for _, f := range []struct {
		family
		afi api.Family_Afi
	}{{s.ipv4, api.Family_AFI_IP}, {s.ipv6, api.Family_AFI_IP6}} {
		if f.on {
			p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{
				Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: f.afi, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
				MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: s.restart > 0}},
			})
		}
	}
	return p
}

// announce offers a path for each prefix, in order; a path that was offered before is replaced.
func (r *router) announce(prefixes []netip.Prefix, route func(netip.Prefix) vip.Route) error {
	for len(prefixes) > 0 {
		batch := prefixes[:min(len(prefixes), maxPathsPerRequest)]
		prefixes = prefixes[len(batch):]
		var request apiutil.AddPathRequest
		for _, prefix := range batch {
			p, err := gobgpPath(prefix, route(prefix))
			if err != nil {
				return fmt.Errorf("announcing %s: %w", prefix, err)
			}
			request.Paths = append(request.Paths, p)
		}
		if _, err := r.server.AddPath(request); err != nil {
			return fmt.Errorf("announcing %s and others: %w", batch[0], err)
		}
	}
	return nil
}

func (r *router) withdraw(prefixes []netip.Prefix) error {
	for len(prefixes) > 0 {
		batch := prefixes[:min(len(prefixes), maxPathsPerRequest)]
		prefixes = prefixes[len(batch):]
		var request apiutil.DeletePathRequest
		for _, prefix := range batch {
			p, err := gobgpPath(prefix, vip.Route{})
			if err != nil {
				return fmt.Errorf("withdrawing %s: %w", prefix, err)
			}
			request.Paths = append(request.Paths, p)
		}
		if err := r.server.DeletePath(request); err != nil {
			return fmt.Errorf("withdrawing %s and others: %w", batch[0], err)
		}
	}
	return nil
}

// gobgpPath returns a path whose next hop is each session's own address unless its policy says otherwise.
func gobgpPath(prefix netip.Prefix, route vip.Route) (*apiutil.Path, error) {
	nlri, err := packet.NewIPAddrPrefix(prefix)
	if err != nil {
		return nil, err
	}
	p := &apiutil.Path{Family: packet.RF_IPv4_UC, Nlri: nlri, Age: time.Now().Unix()}
	attrs := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	var nextHop packet.PathAttributeInterface
	if prefix.Addr().Is4() {
		nextHop, err = packet.NewPathAttributeNextHop(netip.IPv4Unspecified())
	} else {
		p.Family = packet.RF_IPv6_UC
		nextHop, err = packet.NewPathAttributeMpReachNLRI(p.Family, []packet.PathNLRI{{NLRI: nlri}}, netip.IPv6Unspecified())
	}
	if err != nil {
		return nil, err
	}
	attrs = append(attrs, nextHop)
	if route.MED != nil {
		attrs = append(attrs, packet.NewPathAttributeMultiExitDisc(*route.MED))
	}
	if route.LocalPref != nil { // GoBGP leaves it out towards external peers
		attrs = append(attrs, packet.NewPathAttributeLocalPref(*route.LocalPref))
	}
	if len(route.Communities) > 0 {
		attrs = append(attrs, packet.NewPathAttributeCommunities(route.Communities))
	}
	if len(route.LargeCommunities) > 0 {
		var large []*packet.LargeCommunity
		for _, c := range route.LargeCommunities {
			large = append(large, packet.NewLargeCommunity(c[0], c[1], c[2]))
		}
		attrs = append(attrs, packet.NewPathAttributeLargeCommunities(large))
	}
	p.Attrs = attrs
	return p, nil
}
