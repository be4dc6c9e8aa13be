package faults_test

import (
	"net/netip"
	"testing"

	"daymark/test/controlplane"
)

// families plays the first faults for an IPv6 address, and for one of each family.
func (b *bed) families(t *testing.T, tb *table, v4, v6 netip.Addr) {
	for _, c := range []struct {
		name string
		vips []netip.Addr
	}{{"control plane, one address, IPv6", []netip.Addr{v6}}, {"control plane, an address of each family, the worse of the two", []netip.Addr{v4, v6}}} {
		t.Run(c.name, func(t *testing.T) {
			tb.heading(c.name)
			b.run(t, c.vips)
			for _, f := range []struct {
				name string
				hurt func(*controlplane.Node) func() error
				most bounds
				mend func(*controlplane.Node) error
			}{
				{"SIGTERM of the holder", func(n *controlplane.Node) func() error { return b.stopped(t, n) }, handover, nil},
				{"SIGKILL of the holder", func(n *controlplane.Node) func() error { return b.agents[n.Name()].Kill }, dies, nil},
				{"cable of the holder cut", func(n *controlplane.Node) func() error { return n.Cut }, pulled, (*controlplane.Node).Mend},
			} {
				t.Run(f.name, func(t *testing.T) {
					holder := b.settle(t)
					s := b.suffer(t, f.hurt(holder), b.moved(holder))
					tb.check(t, f.name, s, f.most)
					if f.mend == nil {
						b.start(t, holder)
					} else if err := f.mend(holder); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}
