package ipam_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"daymark/ipam"
)

// TestManyWorkers lets 32 workers allocate, change, roll back and release at once, and counts each address's holders by their own books.
func TestManyWorkers(t *testing.T) {
	a := newAllocator(t, map[string]string{"cidr-global": "10.0.0.0/22", "cidr-shop": "10.0.1.0/24", "spill-to-global": "true"})
	a.Replay(nil)
	var mu sync.Mutex
	holder := map[netip.Addr]string{}
	take := func(owner string, addr netip.Addr) {
		mu.Lock()
		defer mu.Unlock()
		if other, ok := holder[addr]; ok && other != owner {
			t.Errorf("%s has %s already, and %s gets it", other, addr, owner)
		}
		holder[addr] = owner
	}
	lose := func(owner string) {
		mu.Lock()
		defer mu.Unlock()
		for addr, other := range holder {
			if other == owner {
				delete(holder, addr)
			}
		}
	}
	var wg sync.WaitGroup
	for worker := range 32 {
		wg.Go(func() {
			for round := range 60 {
				namespace := []string{"shop", "blog"}[round%2]
				owner := fmt.Sprintf("%s/%d-%d", namespace, worker, round%10)
				grant, err := a.Ensure(ipam.Request{Owner: owner, Namespace: namespace, Ports: ports("80/TCP")})
				if err != nil {
					t.Error(err)
					return
				}
				take(owner, grant.Addrs[0].Addr)
				switch round % 4 {
				case 0:
					a.Commit(owner)
				case 1:
					if grant.Changed() {
						lose(owner)
					}
					a.Rollback(owner)
				default:
					lose(owner)
					a.Release(owner)
				}
			}
		})
	}
	wg.Wait()
	if got := len(a.Holdings()); got != len(holder) {
		t.Errorf("%d addresses are held, want %d", got, len(holder))
	}
}

func TestReplayTwicePanics(t *testing.T) {
	a := ipam.New()
	a.Replay(nil)
	defer func() {
		if recover() == nil {
			t.Error("a second replay was taken")
		}
	}()
	a.Replay(nil)
}
