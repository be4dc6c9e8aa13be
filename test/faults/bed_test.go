package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/programs"
	"daymark/test/require"
)

const (
	leaseDuration = 5 * time.Second
	renewDeadline = 3 * time.Second
	retryPeriod   = time.Second
	// refresh is the period of the announcements that are repeated as long as an address is held.
	refresh = 3 * time.Second
	// slack is what a shared machine with 2 cores may take for what takes no time on an idle one.
	slack = time.Second
	// dead is how long the address of a dead holder may be unanswered: nobody takes over before leaseDuration has passed since the
	// last renewal, and the fence is over by then.
	dead = leaseDuration + retryPeriod
	// cut is the same for one that clients can't reach: they miss it from the first moment on.
	cut = dead + slack
	// back is how long it may take after the API server is there again.
	back     = retryPeriod + time.Second
	asking   = 20 * time.Millisecond // period of the observer's questions
	echoPort = 7                     // where each node answers with its name
)

// bed is a cluster whose three nodes run the agent, and a stranger on its LAN.
type bed struct {
	*controlplane.Bed
	program  string
	stranger *netns.Host
	vips     []netip.Addr // of the control plane
	flags    []string     // of the agents' manifest, beside the address
	env      []string
	agents   map[string]*netns.Command
	pulse    *pulse
}

func newBed(t *testing.T) *bed {
	b := &bed{Bed: controlplane.StartBed(t, "node-1", "node-2", "node-3"), agents: map[string]*netns.Command{}, pulse: startPulse(t, time.Minute)}
	b.program = require.Value(programs.BuildProduct(t.Context(), t.TempDir(), t.Output()))(t).VIP
	b.stranger = require.Value(b.Lab.AddHost("stranger", b.LAN))(t)
	for _, n := range b.Nodes() {
		_, err := n.Echo("udp", fmt.Sprintf("[::]:%d", echoPort))
		require.NoError(t, err)
	}
	return b
}

// run stops the agents that run, and starts them all for these addresses of the control plane.
func (b *bed) run(t *testing.T, vips []netip.Addr, flags ...string) {
	t.Helper()
	b.stop(t)
	b.vips, b.flags, b.env = vips, flags, nil
	for _, n := range b.Nodes() {
		b.start(t, n)
	}
	b.settle(t)
}

// stop stops every agent, which leaves nobody with the address.
func (b *bed) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stopped := make(chan error, len(b.agents))
	for _, a := range b.agents {
		go func() { stopped <- a.Stop(ctx) }()
	}
	for range b.agents {
		require.NoError(t, <-stopped)
	}
}

// start starts the agent as its static pod's manifest says.
func (b *bed) start(t *testing.T, n *controlplane.Node) {
	t.Helper()
	b.startAs(t, n, b.program)
}

// startAs is start with another program in the agent's place.
func (b *bed) startAs(t *testing.T, n *controlplane.Node, program string) {
	t.Helper()
	b.agents[n.Name()] = require.Value(n.RunManifest(b.manifest(t, n), controlplane.Run{Program: program, Env: b.env}))(t)
}

// manifest is that of the static pod of the agent.
func (b *bed) manifest(t *testing.T, n *controlplane.Node) []byte {
	t.Helper()
	text := ""
	for _, vip := range b.vips {
		text += "," + vip.String()
	}
	args := append([]string{b.program, "manifest", "pod", "--controlplane", "--arp", "--leaderElection", "--interface", "eth0", "--address", text[1:]}, b.flags...)
	return require.Value(n.Run(t.Context(), args...))(t)
}

// settle waits until the machine is calm, since a holder that gets no CPU may lose the addresses, until exactly one node has them
// all and answers for them, and returns it, and until the others know of each other: two periods of renewal.
func (b *bed) settle(t *testing.T) *controlplane.Node {
	t.Helper()
	b.pulse.calm(t)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var probers []*netns.Prober
	for _, vip := range b.vips {
		p := b.prober(vip)
		defer p.Stop()
		probers = append(probers, p)
	}
	for _, p := range probers {
		first := require.Value(p.Wait(ctx, time.Now(), nil))(t)
		require.Value(p.Wait(ctx, first.At.Add(2*retryPeriod), nil))(t)
	}
	var all []*controlplane.Node
	for _, vip := range b.vips {
		all = append(all, b.holders(t, vip)...)
	}
	if len(all) != len(b.vips) || len(slices.Compact(all)) != 1 {
		t.Fatalf("the addresses are on %d nodes, and should be on one", len(all))
	}
	return all[0]
}

// prober asks for an address. What is answered late on a busy machine is not lost: an outage is in the time between answers.
func (b *bed) prober(vip netip.Addr) *netns.Prober {
	return netns.StartProber(netns.Probe{From: b.Client, Network: "udp", To: netip.AddrPortFrom(vip, echoPort), Timeout: 5 * time.Second})
}

func (b *bed) holders(t *testing.T, addr netip.Addr) (out []*controlplane.Node) {
	t.Helper()
	for _, n := range b.Nodes() {
		if require.Value(n.Has(addr))(t) {
			out = append(out, n)
		}
	}
	return out
}

// others are the nodes besides one.
func (b *bed) others(holder *controlplane.Node) []*controlplane.Node {
	return slices.DeleteFunc(b.Nodes(), func(n *controlplane.Node) bool { return n == holder })
}

// client is an administrator's, of the API server on a node.
func client(t *testing.T, n *controlplane.Node) *kubernetes.Clientset {
	t.Helper()
	return require.Value(n.Client())(t)
}

// moved waits until another node than holder answers for every address, and holder's kernel has them no more.
func (b *bed) moved(holder *controlplane.Node) func(context.Context) error {
	since := time.Now()
	return func(ctx context.Context) error {
		var errs []error
		for _, vip := range b.vips {
			_, err := b.LAN.Observer().Wait(ctx, vip, since, func(a netns.Answer) bool {
				return a.Host != holder.Name() && (a.Kind == netns.Reply || a.Kind == netns.Announcement)
			})
			errs = append(errs, err, holder.WaitNoAddr(ctx, vip))
		}
		return errors.Join(errs...)
	}
}

// after waits for a while.
func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
