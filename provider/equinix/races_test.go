package equinix_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"daymark/provider/equinix"
)

// TestAListingIsOlderThanWhatHappensMeanwhile has Services come and go while the API's answer to a listing is under way.
func TestAListingIsOlderThanWhatHappensMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		s.want("shop/old")
		s.want("shop/stays")
		s.api.set(func() {
			s.api.meanwhile = func() {
				s.want("shop/new")
				if err := s.drop("shop/old"); err != nil {
					t.Error(err)
				}
			}
		})
		time.Sleep(5*time.Minute + time.Second) // a sweep
		synctest.Wait()
		s.want("shop/new")
		s.check("bought meanwhile", "shop/new", "198.19.0.3")
		s.want("shop/old")
		s.check("given back meanwhile", "shop/old", "198.19.0.4")
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := s.owned(); got != "198.19.0.2,198.19.0.3,198.19.0.4" {
			t.Error(got)
		}
	})
}

// TestServicesComeAndGo plays a day of many Services, an API that is slow and loses answers, and crashes; then it counts.
func TestServicesComeAndGo(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { comeAndGo(t, seed) })
		})
	}
}

func comeAndGo(t *testing.T, seed uint64) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 2))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	api := newFakeAPI()
	api.latency = func(string) { time.Sleep(time.Duration(draw(2000)) * time.Millisecond) }
	s := openShop(t, api, nil)
	var owners sync.WaitGroup
	for i := range 8 {
		owner := fmt.Sprintf("shop/%d", i)
		owners.Go(func() { // the controller serves one owner by one worker at a time
			for range 30 {
				switch draw(3) {
				case 0:
					_ = s.drop(owner) // or again, later
				default:
					s.want(owner)
				}
				time.Sleep(time.Duration(draw(60)) * time.Second)
			}
			if draw(2) == 0 {
				for s.drop(owner) != nil {
					time.Sleep(time.Second)
				}
				return
			}
			for s.want(owner); !s.has(owner); s.want(owner) {
				time.Sleep(time.Second)
			}
		})
	}
	calm := make(chan struct{})
	go func() {
		defer close(calm)
		for range 20 {
			time.Sleep(time.Duration(draw(90)) * time.Second)
			call := []string{"Reserve", "Release", "Reservations"}[draw(3)]
			api.set(func() { api.lost[call] = fmt.Errorf("lost: %w", equinix.ErrUnavailable) })
			time.Sleep(time.Duration(draw(20)) * time.Second)
			api.set(func() { clear(api.lost) })
		}
	}()
	owners.Wait()
	<-calm
	time.Sleep(20 * time.Minute) // sweeps
	synctest.Wait()
	tags := map[string]string{}
	api.set(func() {
		for _, r := range api.reservations {
			if other, twice := tags[r.Tags[1]]; twice {
				t.Errorf("seed %d: %s and %s were bought for one Service", seed, other, r.Prefix)
			}
			tags[r.Tags[1]] = r.Prefix.Addr().String()
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for owner, addr := range s.addrs {
		tag := equinix.Tags(owner, cluster)[1]
		if tags[tag] != addr || strings.Contains(addr, ",") {
			t.Errorf("seed %d: %s has %s, at the API it is %s", seed, owner, addr, tags[tag])
		}
		delete(tags, tag)
	}
	if len(tags) > 0 {
		t.Errorf("seed %d: nobody needs %v", seed, tags)
	}
}

func (s *shop) has(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs[owner] != ""
}
