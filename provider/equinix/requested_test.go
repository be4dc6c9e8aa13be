package equinix_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"daymark/ipam"
	"daymark/provider/equinix"
)

func TestWhatAUserAsksForIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFakeAPI()
		block := netip.MustParsePrefix("10.64.1.0/25")
		api.reservations = []equinix.Reservation{
			{ID: "own", Prefix: netip.MustParsePrefix("198.19.1.1/32")},
			{ID: "control", Prefix: netip.MustParsePrefix("198.19.1.2/32"), Tags: []string{"control"}},
			{ID: "other", Prefix: netip.MustParsePrefix("198.19.1.3/32"), Tags: equinix.Tags("shop/web", "uid-2")},
			{ID: "block", Prefix: block, Assignments: []equinix.Assignment{
				{ID: "a", Addr: netip.MustParseAddr("10.64.1.3"), Prefix: netip.MustParsePrefix("10.64.1.2/31"), Device: uuid(1)},
			}},
		}
		s := openShop(t, api, func(o *equinix.EIPOptions) {
			o.Excluded = func(a netip.Addr) (string, bool) { return "node worker-1", a == netip.MustParseAddr("10.64.1.9") }
		})
		s.want("shop/first", asking("198.19.1.1"))
		s.check("the project's own", "shop/first", "198.19.1.1")
		s.want("shop/inside", asking("10.64.1.4"))
		s.check("of a block", "shop/inside", "10.64.1.4")
		s.e.Observe(ipam.Existing{Owner: "shop/first"}) // between a look at it and its grant nobody else may have it
		for addr, want := range map[string]string{
			"198.19.1.1": "taken by shop/first", "198.19.1.2": "control plane", "198.19.1.3": "taken by a Service", "10.64.1.2": "assigned to device",
			"10.64.1.3": "assigned to device", "10.64.1.9": "node worker-1", "203.0.113.1": "owns no such address", "2001:db8::1": "owns no such address",
		} {
			if s.want("shop/second", asking(addr)); !strings.Contains(s.refused["shop/second"], want) {
				t.Errorf("%s: %q, %s", addr, s.refused["shop/second"], s.addrs["shop/second"])
			}
		}
		s.want("shop/second", asking("198.19.1.1"))
		if err := s.drop("shop/first"); err != nil {
			t.Error(err)
		}
		s.check("it comes free", "shop/second", "198.19.1.1")
		s.want("shop/third", asking("198.19.1.9"))
		api.set(func() {
			api.reservations = append(api.reservations, equinix.Reservation{ID: "new", Prefix: netip.MustParsePrefix("198.19.1.9/32")})
		})
		time.Sleep(61 * time.Second)
		synctest.Wait()
		s.check("bought by hand, a minute later", "shop/third", "198.19.1.9")
		if n := api.count("Reserve") + api.count("Release"); n != 0 {
			t.Errorf("%d calls to buy or give back", n)
		}
		s.want("shop/fourth", asking("203.0.113.1"))
		s.e.Observe(ipam.Existing{Owner: "shop/fourth"}) // ignored by now
		before := api.count("Reservations")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := api.count("Reservations") - before; n > 3 {
			t.Errorf("%d listings in ten minutes for a Service that is ignored", n)
		}
	})
}

func TestARequestReplacesWhatWasBought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFakeAPI()
		api.reservations = []equinix.Reservation{{ID: "own", Prefix: netip.MustParsePrefix("198.19.1.1/32")}}
		s := openShop(t, api, nil)
		s.want("shop/web")
		s.e.Observe(ipam.Existing{Owner: "shop/web", Shown: []netip.Addr{netip.MustParseAddr("198.19.0.1")}})
		grant, err := s.e.Ensure(t.Context(), ipam.Request{Owner: "shop/web", Requested: []netip.Addr{netip.MustParseAddr("198.19.1.1")}}, &corev1.Service{})
		if err != nil || show(grant.Dropped) != "198.19.0.1" {
			t.Fatal(grant, err)
		}
		s.e.Commit("shop/web")
		synctest.Wait()
		if got := s.owned(); got != "198.19.0.1,198.19.1.1" {
			t.Error("while the status still shows it:", got)
		}
		s.e.Observe(ipam.Existing{Owner: "shop/web", Shown: []netip.Addr{netip.MustParseAddr("198.19.1.1")}})
		synctest.Wait()
		if got := s.owned(); got != "198.19.1.1" {
			t.Error("after that:", got)
		}
	})
}

func TestReplayFindsConflicts(t *testing.T) {
	api := newFakeAPI()
	api.reservations = []equinix.Reservation{{ID: "control", Prefix: netip.MustParsePrefix("198.19.1.2/32"), Tags: []string{"control"}}}
	e := equinix.NewEIPs(equinix.EIPOptions{API: api, Cluster: cluster, Metro: "da", ControlTag: "control", Log: slog.New(slog.DiscardHandler)})
	addr := []netip.Addr{netip.MustParseAddr("198.19.0.9")}
	got, err := e.Replay(t.Context(), []ipam.Existing{
		{Owner: "a/a", Addrs: addr}, {Owner: "b/b", Addrs: addr}, {Owner: "c/c", Addrs: []netip.Addr{netip.MustParseAddr("198.19.1.2")}},
	})
	if err != nil || fmt.Sprint(got) != "[{198.19.0.9 [a/a b/b] } {198.19.1.2 [c/c] the control plane's address}]" {
		t.Error(got, err)
	}
}

// TestAnAddressThatTwoHaveIsNotGivenBack has another Service show an address that was bought for one that goes.
func TestAnAddressThatTwoHaveIsNotGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		s.want("shop/web")
		other := ipam.Existing{Owner: "shop/forged", Addrs: []netip.Addr{netip.MustParseAddr("198.19.0.1")}}
		if _, conflicts := s.e.Observe(other); len(conflicts) != 1 {
			t.Error(conflicts)
		}
		if err := s.drop("shop/web"); err != nil || s.owned() != "198.19.0.1" {
			t.Error(s.owned(), err)
		}
		if s.want("shop/web"); !strings.Contains(s.refused["shop/web"], "taken by shop/forged") {
			t.Error(s.addrs, s.refused)
		}
		s.e.Observe(ipam.Existing{Owner: "shop/forged"})
		s.want("shop/web")
		s.check("the other lets go", "shop/web", "198.19.0.1")
	})
}
