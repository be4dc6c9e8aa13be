package faults_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/test/controlplane"
	"daymark/test/require"
)

// cordon marks a node as not to be used, or as usable again.
func (b *bed) cordon(t *testing.T, n *controlplane.Node, cordoned bool) error {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned)
	_, err := client(t, n).CoreV1().Nodes().Patch(t.Context(), n.Name(), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// apiFaults are those of the API server, and of the etcd behind it.
func (b *bed) apiFaults(t *testing.T, tb *table) {
	defer b.alive(t) // no process is restarted
	t.Run("API path of all cut", func(t *testing.T) {
		b.settle(t)
		const away = 10 * time.Second
		var was absence
		s := b.suffer(t, func() (err error) { was, err = b.apiAway(t, away); return err }, b.held)
		// The last renewal was up to a retry period old.
		tb.check(t, "API path of all cut for 10 s", s, bounds{silence: away - (renewDeadline - retryPeriod) + back})
		b.letGo(t, was.complete.Add(leaseDuration+slack), was.over)
		b.goesOn(t, was.mended)
	})
	t.Run("API server of the holder restarted", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, holder.APIServer.Kill, func(ctx context.Context) error {
			return errors.Join(holder.StartAPIServer(ctx), holder.Ready(ctx), b.held(ctx))
		})
		tb.check(t, "API server of the holder killed and restarted", s, bounds{silence: dead})
	})
	t.Run("every API server restarted", func(t *testing.T) {
		holder := b.settle(t)
		var returned time.Time
		s := b.suffer(t, func() error {
			var errs []error
			for _, n := range b.Nodes() {
				errs = append(errs, n.APIServer.Kill())
			}
			return errors.Join(errs...)
		}, func(ctx context.Context) (err error) {
			returned, err = b.startServers(ctx, holder)
			return errors.Join(err, b.held(ctx))
		})
		// Nothing is lost before the renew deadline, and the last renewal was up to a retry period old. After that the address waits for
		// an API server: for that of the holder, since the others may not take it before its lease is over.
		away := returned.Sub(s.began)
		tb.check(t, fmt.Sprintf("every API server killed and restarted, away for %.1f s", away.Seconds()), s,
			bounds{silence: max(0, away-(renewDeadline-retryPeriod)) + back})
		b.goesOn(t, returned)
	})
	t.Run("etcd member of the holder lost", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, holder.Etcd.Kill, b.moved(holder))
		// Where it was etcd's leader, there must be another before anybody can take over.
		tb.check(t, "etcd member beside the holder lost, and so its API server", s, bounds{silence: dead, taken: dead + slack})
		b.rejoin(t, holder)
	})
	t.Run("etcd member of another node lost", func(t *testing.T) {
		holder := b.settle(t)
		other := b.others(holder)[0]
		s := b.suffer(t, other.Etcd.Kill, after(leaseDuration))
		// Where it was etcd's leader, no write succeeds until there is another. That takes 1 to 2 s, less than the renew deadline; on a
		// machine so busy that it takes longer the holder withdraws, and the bound is that of a dead one.
		tb.check(t, "etcd member of another node lost", s, bounds{silence: dead})
		b.rejoin(t, other)
	})
	t.Run("leases deleted by hand", func(t *testing.T) {
		holder := b.settle(t)
		leases := client(t, holder).CoordinationV1().Leases("kube-system")
		s := b.suffer(t, func() error {
			return errors.Join(leases.Delete(t.Context(), "kube-vip-cp", metav1.DeleteOptions{}),
				leases.Delete(t.Context(), "kube-vip-member-control-plane-"+holder.Name(), metav1.DeleteOptions{}))
		}, after(leaseDuration+retryPeriod))
		tb.check(t, "lease deleted by hand, and the holder's member lease", s, bounds{silence: slack})
		if now := b.settle(t); now != holder {
			t.Errorf("the VIP went from %s to %s", holder.Name(), now.Name())
		}
		lease := require.Value(leases.Get(t.Context(), "kube-vip-cp", metav1.GetOptions{}))(t)
		if by := lease.Spec.HolderIdentity; by == nil || *by != holder.Name() {
			t.Errorf("the lease that was made again is %+v", lease.Spec)
		}
	})
}

// startServers starts every API server, waits until all are ready, and returns when that of one node was.
func (b *bed) startServers(ctx context.Context, of *controlplane.Node) (ready time.Time, err error) {
	var errs []error
	for _, n := range b.Nodes() {
		errs = append(errs, n.StartAPIServer(ctx))
	}
	errs = append(errs, of.Ready(ctx))
	ready = time.Now()
	for _, n := range b.others(of) {
		errs = append(errs, n.Ready(ctx))
	}
	return ready, errors.Join(errs...)
}

// absence is a time in which nobody reached an API server.
type absence struct {
	complete     time.Time // from then on
	over, mended time.Time // up to the first of these, and from the second on everybody did again
}

// apiAway keeps every node's agent from every API server for a while.
func (b *bed) apiAway(t *testing.T, away time.Duration) (was absence, err error) {
	var mends []func(context.Context) error
	var errs []error
	for _, n := range b.Nodes() {
		mend, err := b.blockAPI(t.Context(), n)
		errs = append(errs, err)
		if err == nil {
			mends = append(mends, mend)
		}
	}
	was.complete = time.Now()
	errs = append(errs, after(away)(t.Context()))
	was.over = time.Now()
	for _, mend := range mends {
		errs = append(errs, mend(t.Context()))
	}
	was.mended = time.Now()
	return was, errors.Join(errs...)
}

// held waits until some node answers for every address.
func (b *bed) held(ctx context.Context) error {
	since := time.Now()
	var errs []error
	for _, vip := range b.vips {
		_, err := b.LAN.Observer().Wait(ctx, vip, since, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rejoin starts the etcd member of a node again, and waits until its API server works.
func (b *bed) rejoin(t *testing.T, n *controlplane.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, n.StartEtcd(ctx))
	require.NoError(t, n.Ready(ctx))
}
