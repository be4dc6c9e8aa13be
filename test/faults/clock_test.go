package faults_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/require"
	"daymark/test/wrongclock"
)

// clockFaults set the clock of one node's agent an hour off, while it runs: see package wrongclock for how.
func (b *bed) clockFaults(t *testing.T, tb *table) {
	if err := wrongclock.Possible(); err != nil {
		require.Missing(t, err.Error())
	}
	self := require.Value(os.Executable())(t)
	files := map[string]string{}
	set := func(node, offset string) error { return os.WriteFile(files[node], []byte(offset), 0o644) }
	b.stop(t)
	for _, n := range b.Nodes() {
		files[n.Name()] = filepath.Join(t.TempDir(), n.Name())
		b.env = wrongclock.Env(b.program, files[n.Name()])
		b.startAs(t, n, self)
	}
	b.env = nil

	holder := b.settle(t)
	leases := client(t, holder).CoordinationV1().Leases("kube-system")
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		name := map[bool]string{true: "clock of the holder set an hour ahead", false: "clock of the holder set an hour back"}[off > 0]
		s := b.suffer(t, func() error { return set(holder.Name(), off.String()) }, after(leaseDuration+retryPeriod))
		tb.check(t, name, s, bounds{silence: slack})
		if now := b.settle(t); now != holder {
			t.Errorf("the VIP went from %s to %s", holder.Name(), now.Name())
		}
		lease := require.Value(leases.Get(t.Context(), "kube-vip-cp", metav1.GetOptions{}))(t)
		if wrong := time.Until(lease.Spec.RenewTime.Time); (wrong - off).Abs() > time.Minute {
			t.Errorf("the lease was renewed at %v, %v off: the clock is not as it should be", lease.Spec.RenewTime, wrong)
		}
	}
	s := b.suffer(t, b.agents[holder.Name()].Kill, b.moved(holder))
	tb.check(t, "SIGKILL of that holder", s, dies)
	b.start(t, holder)

	holder = b.settle(t)
	for i, n := range b.others(holder) {
		require.NoError(t, set(n.Name(), []string{"1h", "-1h"}[i]))
	}
	s = b.suffer(t, func() error { return nil }, after(leaseDuration+retryPeriod))
	tb.check(t, "clocks of the two that wait set an hour off, one each way", s, bounds{silence: slack})
	if now := b.settle(t); now != holder {
		t.Errorf("the VIP went from %s to %s", holder.Name(), now.Name())
	}
	s = b.suffer(t, b.agents[holder.Name()].Kill, b.moved(holder))
	tb.check(t, "SIGKILL of the holder then", s, dies)
	b.start(t, holder)
}
