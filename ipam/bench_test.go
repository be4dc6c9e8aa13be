package ipam_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"daymark/ipam"
)

// newAllocator returns an allocator on pools, with nothing in use.
func newAllocator(tb testing.TB, data map[string]string) *ipam.Allocator {
	tb.Helper()
	config, problems := ipam.Parse(data)
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	a := ipam.New()
	a.SetConfig(config)
	return a
}

// owners returns n names of Services in namespace shop.
func owners(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("shop/service-%07d", i)
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

// BenchmarkAllocateRelease releases one Service's address and gives one to a new Service, with so many in use. Packed: the addresses in use
// are one block. Scattered: every other address of a block is in use, in the worst case for sets of intervals.
func BenchmarkAllocateRelease(b *testing.B) {
	http := ports("80/TCP")
	for _, used := range []int{1_000, 10_000, 100_000, 1_000_000} {
		for _, scattered := range []bool{false, true} {
			name := "packed"
			if scattered {
				name = "scattered"
			}
			b.Run(fmt.Sprintf("%s/used=%d", name, used), func(b *testing.B) {
				a := newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"})
				names := owners(used)
				var existing []ipam.Existing
				addr := netip.MustParseAddr("10.0.0.1")
				for _, name := range names {
					existing = append(existing, ipam.Existing{Owner: name, Namespace: "shop", Ports: http, Addrs: []netip.Addr{addr}})
					if addr = addr.Next(); scattered {
						addr = addr.Next()
					}
				}
				rand.Shuffle(len(existing), func(i, j int) { existing[i], existing[j] = existing[j], existing[i] })
				a.Replay(existing)
				existing = nil
				runtime.GC()
				b.ReportAllocs()
				for b.Loop() {
					name := names[rand.IntN(len(names))]
					a.Release(name)
					give(b, a, name, http)
				}
			})
		}
	}
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
	http := ports("80/TCP")
	for _, services := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			var existing []ipam.Existing
			addr := netip.MustParseAddr("10.0.0.1")
			for _, name := range owners(services) {
				existing = append(existing, ipam.Existing{Owner: name, Namespace: "shop", Ports: http, Addrs: []netip.Addr{addr}})
				addr = addr.Next()
			}
			rand.Shuffle(len(existing), func(i, j int) { existing[i], existing[j] = existing[j], existing[i] })
			for b.Loop() {
				newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"}).Replay(existing)
			}
		})
	}
}

// BenchmarkSetConfig edits the ConfigMap under 10,000 Services.
func BenchmarkSetConfig(b *testing.B) {
	a := newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"})
	a.Replay(nil)
	for _, name := range owners(10_000) {
		give(b, a, name, ports("80/TCP"))
	}
	config, _ := ipam.Parse(map[string]string{"cidr-global": "10.0.0.0/9,10.128.0.0/10"})
	for b.Loop() {
		a.SetConfig(config)
	}
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory reports what an allocator keeps: with empty pools of any size, and for a Service.
func BenchmarkMemory(b *testing.B) {
	for name, data := range map[string]map[string]string{
		"cidr=10.0.0.0-8": {"cidr-global": "10.0.0.0/8"},
		"cidr=fd00---64":  {"cidr-global": "fd00::/64"},
	} {
		b.Run(name, func(b *testing.B) {
			before := heap()
			a := newAllocator(b, data)
			b.ReportMetric(float64(heap()-before), "B/pool")
			runtime.KeepAlive(a)
			for b.Loop() {
			}
		})
	}
	b.Run("services=10000", func(b *testing.B) {
		names, http := owners(10_000), ports("80/TCP")
		before := heap()
		a := newAllocator(b, map[string]string{"cidr-global": "10.0.0.0/8"})
		a.Replay(nil)
		for _, name := range names {
			give(b, a, name, http)
		}
		b.ReportMetric(float64(heap()-before)/10_000, "B/service")
		runtime.KeepAlive(a)
		for b.Loop() {
		}
	})
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
