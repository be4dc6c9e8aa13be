package ipam_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strconv"
	"testing"

	"daymark/ipam"
)

// newAllocator returns an allocator on pools, with nothing in use.
func newAllocator(tb testing.TB, data map[string]string) *ipam.Allocator {
	tb.Helper()
	config, problems := ipam.Parse(data)
	for _, p := range problems {
		if !p.Warning {
			tb.Fatal(p)
		}
	}
	a := ipam.New()
	a.SetConfig(config)
	return a
}

// owner returns the name of one of up to 9 million Services in namespace shop.
func owner(i int) string {
	var room [24]byte
	return string(strconv.AppendInt(append(room[:0], "shop/service-"...), int64(1_000_000+i), 10))
}

// owners returns the first n of them.
func owners(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = owner(i)
	}
	return out
}

func give(tb testing.TB, a *ipam.Allocator, owner string, ports []ipam.Port) netip.Addr {
	grant, err := a.Ensure(ipam.Request{Owner: owner, Namespace: "shop", Ports: ports})
	if err != nil {
		tb.Fatal(err)
	}
	a.Commit(owner)
	return grant.Addrs[0].Addr
}

// BenchmarkAllocateRelease gives an address and takes one back, with so many in use in a /8. In "new" a Service comes and goes; in "any"
// one of all Services goes, by chance, and comes again, so that the allocator's memory of it is cold; its name is made anew, as a caller has
// it at hand. Half of the block that the addresses in use lie in is free, every other address: as many intervals as there can be.
func BenchmarkAllocateRelease(b *testing.B) {
	http := ports("80/TCP")
	for _, used := range []int{1_000, 10_000, 100_000, 1_000_000} {
		a := newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"})
		a.Replay(existingAt(owners(used), 2))
		runtime.GC()
		b.Run(fmt.Sprintf("new/used=%d", used), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				give(b, a, "shop/new", http)
				a.Release("shop/new")
			}
		})
		b.Run(fmt.Sprintf("any/used=%d", used), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				name := owner(rand.IntN(used))
				a.Release(name)
				give(b, a, name, http)
			}
		})
	}
}

// existingAt returns Services that have every stride-th address of 10.0.0.0/8, in random order.
func existingAt(names []string, stride int) []ipam.Existing {
	var out []ipam.Existing
	addr, http := netip.MustParseAddr("10.0.0.1"), ports("80/TCP")
	for _, name := range names {
		out = append(out, ipam.Existing{Owner: name, Namespace: "shop", Ports: http, Addrs: []netip.Addr{addr}})
		for range stride {
			addr = addr.Next()
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// BenchmarkShare is the same among Services that share addresses: each uses one of 100 ports.
func BenchmarkShare(b *testing.B) {
	for _, used := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("services=%d", used), func(b *testing.B) {
			a := newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8", "allow-share-global": "true"})
			a.Replay(nil)
			names := owners(used)
			port := func(i int) []ipam.Port { return []ipam.Port{{Protocol: "TCP", Port: uint16(1000 + i%100)}} }
			for i, name := range names {
				give(b, a, name, port(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(len(names))
				a.Release(names[i])
				give(b, a, names[i], port(i))
			}
		})
	}
}

// BenchmarkReplay is a start with so many Services that have an address each.
func BenchmarkReplay(b *testing.B) {
	for _, services := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			existing := existingAt(owners(services), 1)
			for b.Loop() {
				newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"}).Replay(existing)
			}
		})
	}
}

// BenchmarkSetConfig edits the ConfigMap under 10,000 Services, twice.
func BenchmarkSetConfig(b *testing.B) {
	a := newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"})
	a.Replay(nil)
	for _, name := range owners(10_000) {
		give(b, a, name, ports("80/TCP"))
	}
	one, _ := ipam.Parse(map[string]string{"cidr-global": "10.0.0.0/9,10.128.0.0/10"})
	other, _ := ipam.Parse(map[string]string{"cidr-global": "10.0.0.0/8"})
	for b.Loop() {
		a.SetConfig(one)
		a.SetConfig(other)
	}
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory reports the bytes that an allocator keeps: with nothing in use, in pools of any size, and for each Service.
func BenchmarkMemory(b *testing.B) {
	measure := func(name string, data map[string]string, services int) {
		b.Run(name, func(b *testing.B) {
			var kept uint64
			for b.Loop() {
				existing := existingAt(owners(services), 1)
				before := heap()
				a := newAllocator(b, data)
				a.Replay(existing)
				kept = heap() - before
				runtime.KeepAlive(existing)
				runtime.KeepAlive(a)
			}
			b.ReportMetric(float64(kept), "B")
		})
	}
	measure("empty/10.0.0.0:8", map[string]string{"cidr-global": "10.0.0.0/8"}, 0)
	measure("empty/fd00:::64", map[string]string{"cidr-global": "fd00::/64"}, 0)
	measure("services=10000", map[string]string{"cidr-global": "10.0.0.0/8"}, 10_000)
}

func TestABigPoolCostsNothing(t *testing.T) {
	for _, cidr := range []string{"10.0.0.0/8", "fd00::/64", "fd00::/8"} {
		before := heap()
		a := newAllocator(t, map[string]string{"cidr-global": cidr})
		if after := heap(); after > before+64<<10 {
			t.Errorf("%s takes %d bytes", cidr, after-before)
		}
		a.Replay(nil)
		give(t, a, "shop/a", ports("80/TCP"))
	}
}
