package election_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"daymark/internal/election"
	"daymark/test/controlplane"
	"daymark/test/require"
)

// world knows what every node has been given, and counts what must not be.
type world struct {
	mu     sync.Mutex
	rights map[string][]election.Right // by node
	splits []string
}

// apply is the Apply of node.
func (w *world) apply(node string) election.Apply {
	return func(_ context.Context, rights []election.Right) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.rights[node] = slices.Clone(rights)
		for claim, nodes := range w.holdersLocked() {
			if len(nodes) > 1 {
				w.splits = append(w.splits, fmt.Sprintf("%s by %v", claim, nodes))
			}
		}
		return nil
	}
}

func (w *world) holdersLocked() map[string][]string {
	out := map[string][]string{}
	for node, rights := range w.rights {
		for _, r := range rights {
			if !r.Passing && time.Now().Before(r.Until) {
				out[r.Claim] = append(out[r.Claim], node)
			}
		}
	}
	return out
}

// await waits until want claims have a holder each, none of them on one of without, and returns how long that took.
func (w *world) await(t *testing.T, want int, without ...string) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		w.mu.Lock()
		holders := w.holdersLocked()
		w.mu.Unlock()
		for claim, nodes := range holders {
			if slices.Contains(without, nodes[0]) {
				delete(holders, claim)
			}
		}
		if len(holders) == want {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%d of %d claims held after a minute", len(holders), want)
		}
	}
}

// node is one agent's electors: a lease, and membership that knows its successors.
type node struct {
	members *election.Members
	lease   *election.Lease
	stop    func() // and wait
}

func start(t *testing.T, w *world, leases coordinationv1client.LeasesGetter, namespace, name string) *node {
	cfg := election.Config{
		Namespace: namespace, Identity: name, Host: "host." + name, Timing: election.DefaultTiming(), Client: leases,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", name),
	}
	n := &node{}
	n.members = require.Value(election.NewMembers(election.MembersConfig{Config: cfg, Group: "services"}))(t)
	n.lease = require.Value(election.NewLease(election.LeaseConfig{Config: cfg, Name: "plndr-cp-lock", Peers: n.members}))(t)
	n.members.Set(nil)
	n.lease.Set([]election.Claim{{Name: "cp"}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, n.members.Run(ctx, w.apply(name+" spread"))) })
	wg.Go(func() { require.NoError(t, n.lease.Run(ctx, w.apply(name))) })
	n.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(n.stop)
	return n
}

// TestElectors plays the main stories on a real API server: the watches, conflicts and selectors are its own.
func TestElectors(t *testing.T) {
	s := controlplane.StartSingle(t)
	leases := require.Value(election.NewClient(s.Config))(t)
	w := &world{rights: map[string][]election.Right{}}
	nodes := map[string]*node{}
	for _, name := range []string{"a", "b", "c"} {
		nodes[name] = start(t, w, leases, "kube-system", name)
	}
	t.Logf("the control plane's lease: held after %v", w.await(t, 1))

	var claims []election.Claim
	for i := range 300 {
		claims = append(claims, election.Claim{Name: fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250)})
	}
	for _, n := range nodes {
		n.members.Set(claims)
	}
	t.Logf("300 claims: held after %v", w.await(t, 301))

	var took []time.Duration
	for i := range 10 {
		claims = append(claims, election.Claim{Name: fmt.Sprintf("198.19.0.%d", i)})
		for _, n := range nodes {
			n.members.Set(claims)
		}
		took = append(took, w.await(t, 301+i+1))
	}
	slices.Sort(took)
	t.Logf("one more claim: median %v, longest %v", took[len(took)/2], took[len(took)-1])

	lease := require.Value(s.Client.CoordinationV1().Leases("kube-system").Get(t.Context(), "plndr-cp-lock", metav1.GetOptions{}))(t)
	leaver := *lease.Spec.HolderIdentity
	began := time.Now()
	nodes[leaver].stop()
	t.Logf("%s left within %v", leaver, time.Since(began))
	w.await(t, 311, leaver, leaver+" spread")
	lease = require.Value(s.Client.CoordinationV1().Leases("kube-system").Get(t.Context(), "plndr-cp-lock", metav1.GetOptions{}))(t)
	if *lease.Spec.HolderIdentity == leaver || *lease.Spec.LeaseTransitions != 1 {
		t.Errorf("after the hand-over the lease is %s's, with %d transitions", *lease.Spec.HolderIdentity, *lease.Spec.LeaseTransitions)
	}

	require.NoError(t, s.APIServer.Kill())
	require.NoError(t, s.StartAPIServer(t.Context()))
	t.Logf("after the API server's return: all held after %v", w.await(t, 311, leaver, leaver+" spread"))

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.splits) > 0 {
		t.Errorf("held twice: %v", w.splits[:min(len(w.splits), 5)])
	}
}
