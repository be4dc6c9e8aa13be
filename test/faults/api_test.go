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
		s := b.suffer(t, func() error { return b.apiAway(t, away) }, b.held)
		// The last renewal was up to a retry period old.
		tb.check(t, "API path of all cut for 10 s", s, bounds{silence: away - (renewDeadline - retryPeriod) + back})
	})
	t.Run("API server of the holder restarted", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, holder.APIServer.Kill, func(ctx context.Context) error {
			return errors.Join(holder.StartAPIServer(ctx), holder.Ready(ctx), b.held(ctx))
		})
		tb.check(t, "API server of the holder killed and restarted", s, bounds{silence: dead})
	})
	t.Run("every API server restarted", func(t *testing.T) {
		b.settle(t)
		var away time.Duration
		s := b.suffer(t, func() error {
			var errs []error
			for _, n := range b.Nodes() {
				errs = append(errs, n.APIServer.Kill())
			}
			return errors.Join(errs...)
		}, func(ctx context.Context) error {
			began := time.Now()
			var errs []error
			for _, n := range b.Nodes() {
				errs = append(errs, n.StartAPIServer(ctx))
			}
			for _, n := range b.Nodes() {
				errs = append(errs, n.Ready(ctx))
			}
			away = time.Since(began)
			return errors.Join(append(errs, b.held(ctx))...)
		})
		// Nothing is lost before the renew deadline; after that the address waits for an API server.
		tb.check(t, fmt.Sprintf("every API server killed and restarted, away for %.1f s", away.Seconds()), s, bounds{silence: away + back})
	})
	t.Run("etcd member of the holder lost", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, holder.Etcd.Kill, b.moved(holder))
		tb.check(t, "etcd member beside the holder lost, and so its API server", s, bounds{silence: dead})
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

// apiAway keeps every node's agent from every API server for a while.
func (b *bed) apiAway(t *testing.T, away time.Duration) error {
	var mends []func(context.Context) error
	var errs []error
	for _, n := range b.Nodes() {
		mend, err := b.blockAPI(t.Context(), n)
		errs = append(errs, err)
		if err == nil {
			mends = append(mends, mend)
		}
	}
	errs = append(errs, after(away)(t.Context()))
	for _, mend := range mends {
		errs = append(errs, mend(t.Context()))
	}
	return errors.Join(errs...)
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
