package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"

	"daymark/annotations"
	"daymark/internal/agent"
	"daymark/internal/bgp"
)

func TestPeeringAsksForItsPeers(t *testing.T) {
	speaker := &recordedSpeaker{}
	var asked atomic.Int32
	p := agent.NewPeering(agent.PeeringConfig{
		Base:     bgp.Config{ASN: 65000, Peers: []bgp.Peer{{Addr: netip.MustParseAddr("169.254.255.2"), Port: 1179}}},
		NodeName: "node-1", Speaker: speaker, Logger: slog.New(slog.DiscardHandler),
		Lookup: func(context.Context) (annotations.NodeBGP, error) {
			if asked.Add(1) == 1 {
				return annotations.NodeBGP{}, errors.New("no session")
			}
			var set annotations.NodeBGP
			for _, peer := range []string{"169.254.255.1", "169.254.255.2"} {
				set.Peers = append(set.Peers, annotations.NodePeer{
					LocalASN: 65100, Source: netip.MustParseAddr("10.0.0.5"), PeerASN: 65530, Peer: netip.MustParseAddr(peer), Password: "pw", Multihop: true,
				})
			}
			return set, nil
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	within(t, func() bool { return p.Waiting() == "waiting for BGP peers: no session" }, p.Waiting)
	speaker.becomes(t, `AS 65100 id 10.0.0.5
169.254.255.1 AS 65530 as 65100 from 10.0.0.5 password "pw" ttl 64 port 0 bfd false
169.254.255.2 AS 65530 as 65100 from 10.0.0.5 password "pw" ttl 64 port 1179 bfd false`)
	stop()
	if err := <-done; err != nil || p.Waiting() != "" || asked.Load() != 2 || speaker.calls != 1 {
		t.Errorf("%v, waiting %q, asked %d times, configured %d times", err, p.Waiting(), asked.Load(), speaker.calls)
	}
}
