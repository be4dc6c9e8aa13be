package equinix_test

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"daymark/provider/equinix"
)

func TestReadyzTrustsTheClustersAuthorityAlone(t *testing.T) {
	status := http.StatusOK
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || r.Header.Get("Authorization") != "Bearer mine" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(api.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	at := netip.MustParseAddrPort(strings.TrimPrefix(api.URL, "https://"))
	ask := func(ca []byte) error {
		check, err := equinix.Readyz(&rest.Config{Host: "https://192.0.2.1:6443", BearerToken: "mine", TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return check(ctx, at)
	}
	if err := ask(ca); err != nil {
		t.Error(err)
	}
	status = http.StatusInternalServerError
	if err := ask(ca); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("an API server that isn't ready: %v", err)
	}
	if err := ask(nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server of another authority: %v", err)
	}
	if _, err := equinix.Readyz(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}); err == nil {
		t.Error("no error without verification")
	}
}
