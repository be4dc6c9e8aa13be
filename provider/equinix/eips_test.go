package equinix_test

import (
	"errors"
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

func TestAnAddressIsBoughtOnceAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		for range 3 {
			s.want("shop/web")
		}
		s.want("shop/api", annotated(equinix.EIPType, "private_ipv4"))
		s.check("first", "shop/web", "198.19.0.1")
		if kind := s.api.reservations[1].Kind; kind != equinix.PrivateIPv4 {
			t.Error("bought", kind)
		}
		if err := s.drop("shop/web"); err != nil {
			t.Error(err)
		}
		if s.owned() != "198.19.0.2" || s.api.count("Reserve") != 2 || s.api.count("Release") != 1 || s.api.count("Reservations") != 1 {
			t.Error(s.owned(), s.api.calls)
		}
		for owner, change := range map[string]func(*ipam.Request, *corev1.Service){
			"shop/six":    func(r *ipam.Request, _ *corev1.Service) { r.Families = []ipam.Family{ipam.IPv6} },
			"shop/both":   func(r *ipam.Request, _ *corev1.Service) { r.Policy = ipam.RequireDualStack },
			"shop/global": annotated(equinix.EIPType, "global_ipv4"),
		} {
			if s.want(owner, change); s.refused[owner] == "" {
				t.Error(owner, s.addrs[owner], s.errs[owner])
			}
		}
		s.want("shop/prefers", func(r *ipam.Request, _ *corev1.Service) { r.Policy = ipam.PreferDualStack })
		s.check("prefers dual stack", "shop/prefers", "198.19.0.3")
	})
}

func TestWhereIsSaidByConfigurationOrService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), func(o *equinix.EIPOptions) { o.Metro = "" })
		if s.want("shop/web"); !strings.Contains(s.refused["shop/web"], equinix.EIPMetro) {
			t.Error(s.refused)
		}
		s.want("shop/web", annotated(equinix.EIPMetro, "sv"))
		if got := s.api.reservations[0].Metro; got != "sv" {
			t.Error("bought in", got)
		}
	})
}

// TestNoCrashLosesOrBuysTwice ends a source at every step and starts another on the same account.
func TestNoCrashLosesOrBuysTwice(t *testing.T) {
	lost := fmt.Errorf("the answer is lost: %w", equinix.ErrUnavailable)
	for name, crash := range map[string]func(*shop){
		"before it is bought":         func(s *shop) { s.api.fail["Reserve"] = lost; s.want("shop/web") },
		"bought, the answer lost":     func(s *shop) { s.api.lost["Reserve"] = lost; s.want("shop/web") },
		"bought, nothing written":     func(s *shop) { s.want("shop/web") },
		"before it is given back":     func(s *shop) { s.want("shop/web"); s.api.fail["Release"] = lost; _ = s.drop("shop/web") },
		"given back, the answer lost": func(s *shop) { s.want("shop/web"); s.api.lost["Release"] = lost; _ = s.drop("shop/web") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newFakeAPI()
				api.reservations = []equinix.Reservation{
					{ID: "control", Prefix: netip.MustParsePrefix("198.19.1.1/32"), Tags: append(equinix.Tags("shop/web", cluster), "control")},
					{ID: "other", Prefix: netip.MustParsePrefix("198.19.1.2/32"), Tags: equinix.Tags("shop/web", "uid-2")},
					{ID: "own", Prefix: netip.MustParsePrefix("198.19.1.3/32")},
				}
				const kept = "198.19.1.1,198.19.1.2,198.19.1.3"
				crash(openShop(t, api, nil))
				synctest.Wait()
				clear(api.fail)
				clear(api.lost)
				s := openShop(t, api, nil, ipam.Existing{Owner: "shop/web"})
				s.want("shop/web")
				time.Sleep(time.Minute)
				synctest.Wait()
				if got, want := s.owned(), s.addrs["shop/web"]+","+kept; got != want || s.addrs["shop/web"] == "" {
					t.Errorf("living: owned %s, want %s", got, want)
				}
				gone := openShop(t, api, nil)
				synctest.Wait()
				if got := gone.owned(); got != kept {
					t.Errorf("deleted meanwhile: owned %s, want %s", got, kept)
				}
			})
		})
	}
}

func TestALostAnswerIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		s.api.lost["Reserve"] = fmt.Errorf("lost: %w", equinix.ErrUnavailable)
		for i := range 5 {
			s.want(fmt.Sprintf("shop/web-%d", i))
		}
		s.api.set(func() { clear(s.api.lost) })
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range 5 {
			if owner := fmt.Sprintf("shop/web-%d", i); s.addrs[owner] == "" {
				t.Error(owner, s.refused[owner], s.errs[owner])
			}
		}
		if n := strings.Count(s.owned(), ",") + 1; n != 5 {
			t.Errorf("%d addresses for 5 Services", n)
		}
	})
}

func TestAQuotaIsTriedByOneForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		s.want("shop/first")
		s.api.set(func() {
			s.api.fail["Reserve"] = fmt.Errorf("reserving: %w: quota reached", equinix.ErrRefused)
			clear(s.api.calls)
		})
		for i := range 100 {
			s.want(fmt.Sprintf("shop/web-%d", i))
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := s.api.count("Reserve"); n < 10 || n > 12 {
			t.Errorf("%d tries in ten minutes for a hundred Services, want one a minute", n)
		}
		if text := s.refused["shop/web-99"]; !strings.Contains(text, "quota reached") || !strings.Contains(text, "give back") {
			t.Error(text)
		}
		s.want("shop/private", annotated(equinix.EIPType, "private_ipv4"))
		if n := s.api.count("Reserve"); n < 11 {
			t.Error("another kind is not tried by itself")
		}
		s.api.set(func() { delete(s.api.fail, "Reserve") })
		if err := s.drop("shop/first"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		for i := range 100 {
			if owner := fmt.Sprintf("shop/web-%d", i); s.addrs[owner] == "" {
				t.Fatal(owner, s.refused[owner], s.errs[owner])
			}
		}
	})
}

func TestAnAPIThatIsAwayIsTriedByOneForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		s.want("shop/old")
		down := fmt.Errorf("reserving: %w", equinix.ErrUnavailable)
		s.api.set(func() {
			s.api.fail = map[string]error{"Reserve": down, "Release": down, "Reservations": down}
			clear(s.api.calls)
		})
		for i := range 100 {
			s.want(fmt.Sprintf("shop/web-%d", i))
		}
		if err := s.drop("shop/old"); err == nil {
			t.Error("released through an API that is away")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		total := 0
		for _, n := range s.api.calls {
			total += n
		}
		if total > 30 {
			t.Errorf("%d calls in ten minutes of outage: %v", total, s.api.calls)
		}
		s.api.set(func() { clear(s.api.fail) })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		for i := range 100 {
			if owner := fmt.Sprintf("shop/web-%d", i); s.addrs[owner] == "" {
				t.Fatal(owner, s.refused[owner], s.errs[owner])
			}
		}
		if err := s.drop("shop/old"); err != nil {
			t.Error(err)
		}
		if n := strings.Count(s.owned(), ",") + 1; n != 100 {
			t.Errorf("%d addresses", n)
		}
	})
}

// TestWhatNobodyNeedsIsCollected has the API finish purchases that were believed lost, and Services go unseen.
func TestWhatNobodyNeedsIsCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, newFakeAPI(), nil)
		s.want("shop/web")
		s.api.set(func() {
			s.api.reservations = append(s.api.reservations,
				equinix.Reservation{ID: "r000", Prefix: netip.MustParsePrefix("198.19.1.1/32"), Tags: equinix.Tags("shop/web", cluster)},
				equinix.Reservation{ID: "r900", Prefix: netip.MustParsePrefix("198.19.1.2/32"), Tags: equinix.Tags("shop/gone", cluster)})
		})
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if got := s.owned(); got != "198.19.0.1,198.19.1.1,198.19.1.2" {
			t.Error("after one sweep:", got)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := s.owned(); got != "198.19.0.1" {
			t.Error("after two:", got)
		}
		s.want("shop/web")
		s.check("what it has stays", "shop/web", "198.19.0.1")
	})
}

func TestWhoLeadsNoMoreBuysNothingAndGivesNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leads := true
		s := openShop(t, newFakeAPI(), func(o *equinix.EIPOptions) { o.May = func() bool { return leads } })
		s.want("shop/web")
		leads = false
		s.want("shop/new")
		if err := s.drop("shop/web"); err == nil || s.addrs["shop/new"] != "" || s.owned() != "198.19.0.1" {
			t.Error(s.addrs, s.owned(), err)
		}
		leads = true
		s.want("shop/new")
		s.check("leads again", "shop/new", "198.19.0.2")
	})
}

func TestATokenThatIsRefusedEndsReplay(t *testing.T) {
	api := newFakeAPI()
	api.fail["Reservations"] = fmt.Errorf("listing: %w", equinix.ErrUnauthorized)
	e := equinix.NewEIPs(equinix.EIPOptions{API: api, Cluster: cluster, Log: slog.New(slog.DiscardHandler)})
	if _, err := e.Replay(t.Context(), nil); !errors.Is(err, equinix.ErrUnauthorized) || api.count("Reservations") != 1 {
		t.Error(err, api.calls)
	}
}
