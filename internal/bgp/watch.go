package bgp

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// watch tells of every change of a session's state until ctx ends.
func (r *router) watch(ctx context.Context, changed func(neighbor netip.Addr, state, why string)) error {
	return r.server.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			if e.Type == apiutil.PEER_EVENT_STATE {
				changed(e.Peer.State.NeighborAddress, stateName(e.Peer.State.SessionState), reason(e.Peer.State))
			}
		},
	}, server.WatchPeer())
}

func stateName(s packet.FSMState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "BGP_FSM_"))
}

// reason says in words why a session is not up; nothing for steps on the way there, and for what the log says better.
func reason(p apiutil.PeerState) string {
	switch p.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return "hold timer expired: nothing heard from the router"
	case api.PeerState_DISCONNECT_REASON_READ_FAILED:
		return "the router closed the connection"
	case api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		return "the connection broke"
	case api.PeerState_DISCONNECT_REASON_DECONFIGURED:
		return "the peer is configured no more"
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART:
		return "the router restarts"
	}
	return ""
}
