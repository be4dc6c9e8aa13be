package ipam_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"daymark/ipam"
)

// TestFree compares the set of free addresses with a map, over pools that begin and end anywhere.
func TestFree(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			number := func() uint64 { return 1<<16 + random.Uint64N(6*256) }
			var bulk [][2]uint64
			for range 1 + random.IntN(3) {
				a, b := number(), number()
				bulk = append(bulk, [2]uint64{min(a, b), max(a, b)})
			}
			alone := []uint64{number(), number() &^ 255, number() | 255}[:random.IntN(4)]
			f := ipam.NewFree([]ipam.Family{ipam.IPv4, ipam.IPv6}[seed%2], bulk, alone)
			has := map[uint64]bool{}
			var all []uint64
			for x := uint64(1 << 16); x < 1<<16+6*256; x++ {
				if f.Within(x) {
					has[x], all = true, append(all, x)
				}
			}
			check := func(step string) {
				t.Helper()
				var first, last uint64
				for x := range has {
					if first == 0 || x < first {
						first = x
					}
					last = max(last, x)
				}
				if lo, hi, n := f.Ends(); lo != first || hi != last || n != fmt.Sprint(len(has)) {
					t.Fatalf("after %s: %d to %d, %s; want %d to %d, %d (pool %v, %v)", step, lo, hi, n, first, last, len(has), bulk, alone)
				}
			}
			check("the beginning")
			for range 150 {
				switch x := all[random.IntN(len(all))]; random.IntN(16) {
				case 0:
					a, b := number(), number()
					f.RemoveAll(min(a, b), max(a, b))
					for x := min(a, b); x <= max(a, b); x++ {
						delete(has, x)
					}
					check(fmt.Sprint("removing ", min(a, b), "-", max(a, b)))
				case 1, 2, 3, 4, 5, 6, 7:
					f.Remove(x)
					delete(has, x)
					check(fmt.Sprint("removing ", x))
				default:
					f.Add(x)
					has[x] = true
					check(fmt.Sprint("adding ", x))
				}
			}
			for _, x := range all {
				f.Add(x)
				has[x] = true
			}
			if check("the end"); f.Parts() != 0 {
				t.Errorf("%d blocks are in part", f.Parts())
			}
		})
	}
}
