package controlplane

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// startClusterTimeout bounds the start of a cluster of three nodes, which takes
// about 15 seconds on an idle machine with 2 cores.
const startClusterTimeout = 4 * time.Minute

// Bed is a LAN with a cluster on it, for a test.
type Bed struct {
	*Cluster
	Lab *netns.Lab
	LAN *netns.LAN
	// Client is a host on the LAN that is no node.
	Client *netns.Host
}

// StartBed starts a cluster of control-plane nodes of the given names, complete
// with kube-proxy, and a host "client". Address 100 of the LAN is the cluster's
// endpoint, which nobody holds. It ends with the test.
func StartBed(t testing.TB, nodes ...string) *Bed {
	t.Helper()
	require.Tool(t, "nft")
	set := Programs(t)
	lab, lan := netns.Lan(t, nodes...)
	ctx, cancel := context.WithTimeout(t.Context(), startClusterTimeout)
	defer cancel()
	cluster := require.Value(New(lab, Config{Programs: set, Endpoint: lan.Addr(100), Names: []string{lan.Addr6(100).String()}}))(t)
	hosts := make([]*netns.Host, len(nodes))
	for i, name := range nodes {
		hosts[i] = lab.Host(name)
	}
	require.NoError(t, cluster.Start(ctx, hosts...))
	client := require.Value(lab.AddHost("client", lan))(t)
	return &Bed{Cluster: cluster, Lab: lab, LAN: lan, Client: client}
}

// Endpoint is where the cluster's control-plane VIP belongs.
func (b *Bed) Endpoint() netip.Addr { return b.cfg.Endpoint }
