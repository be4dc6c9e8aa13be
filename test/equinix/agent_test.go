package equinix_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"daymark/provider/equinix"
	"daymark/test/metalapi"
)

func TestAgentReadsTheFileOfTheCCM(t *testing.T) {
	got, err := equinix.ParseClientConfig([]byte(`{"apiKey": "top-secret", "projectId": "p", "base-url": "https://metal.example/metal/v1", "metro": "da",
		"localASN": 65100, "loadbalancer": "kube-vip://"}`))
	if err != nil || got.Token != "top-secret" || got.Project != "p" || got.BaseURL != "https://metal.example/metal/v1" {
		t.Errorf("project %q at %q, %v", got.Project, got.BaseURL, err)
	}
	if _, err := equinix.ParseClientConfig([]byte("apiKey: {top-secret: 1}")); err == nil || strings.Contains(err.Error(), "top-secret") {
		t.Error(err)
	}
}

func TestProjectByName(t *testing.T) {
	api, _ := account(t, func(c *metalapi.Config) { c.Name = "the lab" })
	cfg := equinix.ClientConfig{BaseURL: serve(t, api) + metalapi.Prefix, Token: token, RetryWait: time.Millisecond}
	if id, err := equinix.ProjectNamed(t.Context(), cfg, "the lab"); id != project || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if id, err := equinix.ProjectNamed(t.Context(), cfg, "lab"); err == nil {
		t.Errorf("a part of a name is %q", id)
	}
	cfg.Token = "wrong-token"
	if _, err := equinix.ProjectNamed(t.Context(), cfg, "the lab"); !errors.Is(err, equinix.ErrUnauthorized) || strings.Contains(err.Error(), cfg.Token) {
		t.Error(err)
	}
}

func TestPeersOfADevice(t *testing.T) {
	api, c := account(t)
	device := api.AddDevice(metalapi.Device{Hostname: "node-1", Private: netip.MustParsePrefix("10.64.1.3/31")})
	if _, err := equinix.NodeBGP(t.Context(), c, device); !errors.Is(err, equinix.ErrNoSession) {
		t.Errorf("without a session: %v", err)
	}
	if err := errors.Join(c.EnableBGP(t.Context(), 65000, "Secret0000"), c.CreateSession(t.Context(), device, equinix.IPv4)); err != nil {
		t.Fatal(err)
	}
	got, err := equinix.NodeBGP(t.Context(), c, device)
	if err != nil || len(got.Peers) != 2 || got.Peers[1].Peer != netip.MustParseAddr("169.254.255.2") || string(got.Peers[0].Password) != "Secret0000" ||
		!got.Peers[0].Multihop || got.Peers[0].Source != netip.MustParseAddr("10.64.1.3") {
		t.Errorf("%+v, %v", got, err)
	}
}
