package pools_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"daymark/test/netns"
	"daymark/test/require"
)

// replica is a ccm that is started again whenever it ends, as a kubelet does: a leader that loses its lease, and it is short here, ends. It has
// a host name of its own, as a pod has, so that the lease tells who holds it.
type replica struct {
	start func() (*netns.Command, error)

	mu  sync.Mutex
	now *netns.Command
}

// keep starts a replica, and keeps it running until the test ends.
func (b *bed) keep(t testing.TB, name, kubeconfig string) *replica {
	t.Helper()
	r := &replica{start: func() (*netns.Command, error) {
		c := b.here.Command(append([]string{"unshare", "--uts", "sh", "-c", `hostname "$0" && exec "$@"`, name}, b.command(kubeconfig)...)...)
		c.Label = "ccm-" + name
		return c, c.Start()
	}}
	r.now = require.Value(r.start())(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = r.process().Kill()
		require.NoError(t, <-ended)
	})
	return r
}

// run starts the program anew until ctx ends.
func (r *replica) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.process().Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		next, err := r.start()
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.now = next
		r.mu.Unlock()
		if ctx.Err() != nil { // whoever ended the test may have killed the one before
			return next.Kill()
		}
	}
}

// process is the one that runs now.
func (r *replica) process() *netns.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// replicaOf returns the name of the replica that an identity in the lease is of: "name_UUID".
func replicaOf(identity string) string {
	name, _, _ := strings.Cut(identity, "_")
	return name
}
