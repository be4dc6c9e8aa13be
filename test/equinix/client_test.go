// Package equinix_test tries the Equinix Metal provider against the simulator of that API.
package equinix_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"daymark/provider/equinix"
	"daymark/test/metalapi"
)

const (
	token   = "a-very-secret-token"
	project = "11111111-1111-4111-8111-111111111111"
)

// account starts a simulated API and returns it with a client of it.
func account(t *testing.T, change ...func(*metalapi.Config)) (*metalapi.Server, *equinix.Client) {
	t.Helper()
	cfg := metalapi.Config{
		Token: token, Project: project, Metro: "da",
		Public: netip.MustParsePrefix("198.19.0.0/16"), Private: netip.MustParsePrefix("10.64.0.0/16"),
	}
	for _, f := range change {
		f(&cfg)
	}
	api := metalapi.New(cfg)
	return api, client(t, serve(t, api), token)
}

// serve returns the URL of a simulated API.
func serve(t *testing.T, api *metalapi.Server) string {
	t.Helper()
	ts := httptest.NewServer(api)
	t.Cleanup(ts.Close)
	return ts.URL
}

func client(t *testing.T, base, token string) *equinix.Client {
	t.Helper()
	c, err := equinix.NewClient(equinix.ClientConfig{
		BaseURL: base + metalapi.Prefix, Project: project, Token: token, RetryWait: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reserve(t *testing.T, c *equinix.Client, tags ...string) equinix.Reservation {
	t.Helper()
	r, err := c.Reserve(t.Context(), equinix.ReserveRequest{Kind: equinix.PublicIPv4, Metro: "da", Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAddressFromReservationToRelease(t *testing.T) {
	api, c := account(t)
	ctx := t.Context()
	device := api.AddDevice(metalapi.Device{Hostname: "node-1"})
	r := reserve(t, c, "usage=test")
	a, err := c.Assign(ctx, device, r.Prefix.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Assign(ctx, device, r.Prefix.Addr()); !errors.Is(err, equinix.ErrExists) {
		t.Errorf("a second assignment: %v", err)
	}
	if err := c.SetTags(ctx, r.ID, []string{"usage=test", "more"}); err != nil {
		t.Error(err)
	}
	got, err := c.Reservations(ctx)
	want := []equinix.Reservation{{
		ID: r.ID, Kind: equinix.PublicIPv4, Prefix: netip.MustParsePrefix("198.19.0.0/32"), Metro: "da", State: "created",
		Tags: []string{"usage=test", "more"}, Assignments: []equinix.Assignment{a},
	}}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" || err != nil {
		t.Error(err, d)
	}
	for range 2 { // what is gone already is no error
		if err := errors.Join(c.Unassign(ctx, a.ID), c.Release(ctx, r.ID)); err != nil {
			t.Error(err)
		}
	}
	if n := len(api.Reservations()); n != 0 {
		t.Errorf("%d reservations are left", n)
	}
}

func TestListsAreReadToTheirEnd(t *testing.T) {
	api, c := account(t)
	for i := range 1003 {
		api.AddDevice(metalapi.Device{Hostname: fmt.Sprintf("node-%d", i)})
		if _, err := api.Reserve("public_ipv4"); err != nil {
			t.Fatal(err)
		}
	}
	devices, err := c.Devices(t.Context())
	if len(devices) != 1003 || err != nil {
		t.Errorf("%d devices, %v", len(devices), err)
	}
	reservations, err := c.Reservations(t.Context())
	if len(reservations) != 1003 || err != nil {
		t.Errorf("%d reservations, %v", len(reservations), err)
	}
}

func TestWhatErrorsMean(t *testing.T) {
	for name, test := range map[string]struct {
		fault metalapi.Fault
		want  error
	}{
		"forbidden":   {metalapi.Fault{Status: 403}, equinix.ErrUnauthorized},
		"gone":        {metalapi.Fault{Status: 404}, equinix.ErrNotFound},
		"quota":       {metalapi.Fault{Status: 422, Text: "You have reached your quota"}, equinix.ErrRefused},
		"payment":     {metalapi.Fault{Status: 402, Text: "Payment required"}, equinix.ErrPayment},
		"broken":      {metalapi.Fault{Status: 503}, equinix.ErrUnavailable},
		"answer lost": {metalapi.Fault{DropAnswer: true}, equinix.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			api, c := account(t)
			api.Inject(test.fault)
			_, err := c.Reserve(t.Context(), equinix.ReserveRequest{Kind: equinix.PublicIPv4, Metro: "da"})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.fault.Text) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(fmt.Sprint(err), token) {
				t.Errorf("the token is shown: %v", err)
			}
		})
	}
}

func TestReadsAreRepeatedAndPurchasesAreNot(t *testing.T) {
	const buy, list = "POST /projects/{project}/ips", "GET /projects/{project}/ips"
	api, c := account(t)
	for _, fault := range []metalapi.Fault{
		{Call: list, Times: 2, Status: 500}, {Call: list, Times: 1, DropAnswer: true}, {Call: list, Times: 1, Status: 429, RetryAfter: time.Second},
	} {
		api.Inject(fault)
	}
	if _, err := c.Reservations(t.Context()); err != nil {
		t.Error(err)
	}
	if n := api.Calls()[list]; n != 5 {
		t.Errorf("%d attempts to list, want 5", n)
	}
	api.Inject(metalapi.Fault{Call: buy, Times: 1, DropAnswer: true})
	if _, err := c.Reserve(t.Context(), equinix.ReserveRequest{Kind: equinix.PublicIPv4, Metro: "da"}); !errors.Is(err, equinix.ErrUnavailable) {
		t.Error(err)
	}
	if n, owned := api.Calls()[buy], len(api.Reservations()); n != 1 || owned != 1 {
		t.Errorf("%d attempts to buy and %d addresses, want 1 and 1", n, owned)
	}
	api.Inject(metalapi.Fault{Call: buy, Times: 2, Status: 429})
	reserve(t, c)
	if n := api.Calls()[buy]; n != 4 {
		t.Errorf("%d attempts to buy after 429, want 4", n)
	}
}

func TestWrongTokenIsSaidOnce(t *testing.T) {
	api := metalapi.New(metalapi.Config{Token: token, Project: project})
	ts := httptest.NewServer(api)
	defer ts.Close()
	_, err := client(t, ts.URL, "wrong-token-of-mine").Devices(t.Context())
	if !errors.Is(err, equinix.ErrUnauthorized) || strings.Contains(fmt.Sprint(err), "wrong-token") {
		t.Error(err)
	}
	if n := api.Calls()["GET /projects/{project}/devices"]; n != 1 {
		t.Errorf("%d attempts", n)
	}
}

func TestBGPIsEnabledOnce(t *testing.T) {
	api, c := account(t)
	ctx := t.Context()
	device := api.AddDevice(metalapi.Device{Hostname: "node-1", Private: netip.MustParsePrefix("10.64.1.3/31")})
	for range 2 {
		if err := errors.Join(c.EnableBGP(ctx, 65000, "Secret0000"), c.CreateSession(ctx, device, equinix.IPv4)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Neighbours(ctx, device)
	want := []equinix.Neighbour{{
		Family: equinix.IPv4, LocalASN: 65000, LocalAddr: netip.MustParseAddr("10.64.1.3"), PeerASN: 65530,
		Peers: []netip.Addr{netip.MustParseAddr("169.254.255.1"), netip.MustParseAddr("169.254.255.2")}, Password: "Secret0000", Multihop: true,
	}}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" || err != nil {
		t.Error(err, d)
	}
}
