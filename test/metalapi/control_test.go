package metalapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"daymark/test/metalapi"
)

func TestControl(t *testing.T) {
	api := metalapi.New(metalapi.Config{Token: "secret", Project: "p", Metro: "da", Public: netip.MustParsePrefix("198.19.0.0/24")})
	control := api.Control()
	ask := func(h http.Handler, method, path, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Auth-Token", "secret")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const account = `{"devices": [{"hostname": "one", "private": "10.0.0.1/31"}], "reservations": [{"type": "public_ipv4", "tags": ["a"]}]}`
	if code, text := ask(control, "POST", "/state", account); code != http.StatusNoContent {
		t.Fatal(code, text)
	}
	var state metalapi.State
	_, text := ask(control, "GET", "/state", "")
	if err := json.Unmarshal([]byte(text), &state); err != nil || len(state.Devices) != 1 || len(state.Reservations) != 1 || state.Reservations[0].Address != "198.19.0.0" {
		t.Fatal(err, text)
	}
	device := "/metal/v1/devices/" + state.Devices[0].ID
	for _, step := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "/faults", `{"call": "GET /devices", "status": 503, "latency": "1ms"}`, http.StatusServiceUnavailable},
		{"DELETE", "/faults", "", http.StatusOK},
		{"PUT", "/devices/" + state.Devices[0].ID + "/gone", "", http.StatusNotFound},
	} {
		ask(control, step.method, step.path, step.body)
		if code, _ := ask(api, "GET", device, ""); code != step.code {
			t.Errorf("after %s %s: %d, want %d", step.method, step.path, code, step.code)
		}
	}
	if _, text := ask(control, "GET", "/calls", ""); !strings.Contains(text, `"GET /devices/{device}":3`) {
		t.Error(text)
	}
	if code, _ := ask(control, "POST", "/faults", `{"latency": "soon"}`); code != http.StatusBadRequest {
		t.Errorf("a wrong duration: %d", code)
	}
}
