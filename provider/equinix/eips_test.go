package equinix_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/ipam"
	"daymark/provider/equinix"
)

const cluster = "uid-1"

// shop is a source on a fake account, run in a synctest bubble, with as much of a controller as it takes to play with it: who is woken asks again.
type shop struct {
	t   *testing.T
	api *fakeAPI
	e   *equinix.EIPs
	log bytes.Buffer

	mu       sync.Mutex
	requests map[string]ipam.Request
	services map[string]*corev1.Service
	addrs    map[string]string // what each owner has, as written
	refused  map[string]string
	errs     map[string]error
}

func openShop(t *testing.T, api *fakeAPI, change func(*equinix.EIPOptions), existing ...ipam.Existing) *shop {
	t.Helper()
	s := &shop{
		t: t, api: api, requests: map[string]ipam.Request{}, services: map[string]*corev1.Service{}, addrs: map[string]string{},
		refused: map[string]string{}, errs: map[string]error{},
	}
	o := equinix.EIPOptions{
		API: api, Cluster: cluster, Metro: "da", MetroKey: equinix.EIPMetro, FacilityKey: equinix.EIPFacility, ControlTag: "control",
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	s.e = equinix.NewEIPs(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.e.Run(ctx, s.sync) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if conflicts, err := s.e.Replay(ctx, existing); err != nil || len(conflicts) > 0 {
		t.Error("replay:", conflicts, err)
	}
	return s
}

// want changes what a Service asks for and serves it.
func (s *shop) want(owner string, change ...func(*ipam.Request, *corev1.Service)) {
	namespace, name, _ := strings.Cut(owner, "/")
	r := ipam.Request{Owner: owner, Namespace: namespace}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, c := range change {
		c(&r, svc)
	}
	s.mu.Lock()
	s.requests[owner], s.services[owner] = r, svc
	s.mu.Unlock()
	s.sync(owner)
}

func asking(addr string) func(*ipam.Request, *corev1.Service) {
	return func(r *ipam.Request, _ *corev1.Service) { r.Requested = append(r.Requested, netip.MustParseAddr(addr)) }
}

func annotated(key, value string) func(*ipam.Request, *corev1.Service) {
	return func(_ *ipam.Request, svc *corev1.Service) { metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value) }
}

// sync serves owners as the controller does.
func (s *shop) sync(owners ...string) {
	for _, owner := range owners {
		s.mu.Lock()
		r, ok := s.requests[owner]
		svc := s.services[owner]
		s.mu.Unlock()
		if !ok {
			continue
		}
		s.e.Observe(ipam.Existing{Owner: owner})
		grant, err := s.e.Ensure(s.t.Context(), r, svc)
		var refusals ipam.Refusals
		s.mu.Lock()
		delete(s.refused, owner)
		delete(s.errs, owner)
		switch {
		case errors.As(err, &refusals):
			s.refused[owner] = refusals.Error()
		case err != nil:
			s.errs[owner] = err
		default:
			s.addrs[owner] = show(grant.List())
		}
		s.mu.Unlock()
		if err == nil {
			s.e.Commit(owner)
		}
	}
}

// drop deletes a Service.
func (s *shop) drop(owner string) error {
	s.mu.Lock()
	delete(s.requests, owner)
	s.mu.Unlock()
	wake, err := s.e.Release(s.t.Context(), owner)
	if err == nil {
		s.mu.Lock()
		delete(s.addrs, owner)
		s.mu.Unlock()
		s.sync(wake...)
	}
	return err
}

// owned shows what the account has: addresses, sorted.
func (s *shop) owned() string {
	var out []string
	s.api.set(func() {
		for _, r := range s.api.reservations {
			out = append(out, r.Prefix.Addr().String())
		}
	})
	slices.Sort(out)
	return strings.Join(out, ",")
}

func (s *shop) check(what, owner, addr string) {
	s.t.Helper()
	if s.addrs[owner] != addr {
		s.t.Errorf("%s: %s has %q (%s, %v), want %q", what, owner, s.addrs[owner], s.refused[owner], s.errs[owner], addr)
	}
}

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
