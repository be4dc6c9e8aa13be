package datapath_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"daymark/internal/datapath"
	"daymark/internal/vip"
)

// BenchmarkRenew is what a second costs with so many addresses under a lease: every lifetime is extended.
func BenchmarkRenew(b *testing.B) {
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, n := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", family, n), func(b *testing.B) {
				k, want := benched(b, family, n)
				for b.Loop() {
					for i := range want {
						want[i].Until = time.Now().Add(time.Minute)
					}
					if err := k.Set(b.Context(), want); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/address")
			})
		}
	}
}

// BenchmarkUnchanged is the cost of a Set that finds everything as it should be.
func BenchmarkUnchanged(b *testing.B) {
	k, want := benched(b, "IPv4", 1000)
	for b.Loop() {
		if err := k.Set(b.Context(), want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddRemove is the cost of taking and giving back everything.
func BenchmarkAddRemove(b *testing.B) {
	for _, family := range []string{"IPv4", "IPv6"} {
		b.Run(family, func(b *testing.B) {
			k, want := benched(b, family, 1000)
			for b.Loop() {
				if err := k.Set(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
				if err := k.Set(b.Context(), want); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benched(b *testing.B, family string, n int) (*datapath.Kernel, []vip.Address) {
	link(b, "b0")
	k := open(b, datapath.Config{})
	first := netip.MustParseAddr("198.18.0.1")
	if family == "IPv6" {
		first = netip.MustParseAddr("fd00::1")
	}
	var want []vip.Address
	for a := first; len(want) < n; a = a.Next() {
		want = append(want, vip.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Link: "b0", Until: time.Now().Add(time.Hour)})
	}
	if err := k.Set(b.Context(), want); err != nil {
		b.Fatal(err)
	}
	return k, want
}
