package provider_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"daymark/provider"
)

// transport records what is sent and answers with status.
type transport struct {
	sent   []*http.Request
	status int
	err    error
	takes  time.Duration
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.sent = append(t.sent, r)
	<-time.After(t.takes)
	if t.err != nil {
		return nil, t.err
	}
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Retry-After", "1")
	recorder.WriteHeader(t.status)
	return recorder.Result(), nil
}

const lease = "http://api/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/"

func send(t *testing.T, via http.RoundTripper, method, url string) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := via.RoundTrip(r)
	if err == nil {
		_ = response.Body.Close()
	}
	return err
}

func TestFence(t *testing.T) {
	const service = "http://api/api/v1/namespaces/shop/services/web"
	synctest.Test(t, func(t *testing.T) {
		next := &transport{status: http.StatusOK}
		fenced := provider.NewFence("kube-system", "ccm", 10*time.Second).Wrap(next)
		writes := func(want bool) {
			t.Helper()
			err := send(t, fenced, http.MethodPatch, service)
			if want != (err == nil) || !want && !errors.Is(err, provider.ErrFenced) {
				t.Errorf("writing: %v, want it sent: %v", err, want)
			}
		}
		writes(false) // never was the leader
		if err := send(t, fenced, http.MethodGet, service); err != nil {
			t.Errorf("reading: %v", err)
		}
		_ = send(t, fenced, http.MethodPut, lease+"other")
		writes(false) // another lease says nothing
		next.status = http.StatusConflict
		_ = send(t, fenced, http.MethodPut, lease+"ccm")
		writes(false) // the lease is another's
		next.status, next.err = http.StatusOK, errors.New("connection reset")
		_ = send(t, fenced, http.MethodPut, lease+"ccm")
		next.err = nil
		writes(false) // nobody knows

		next.takes = 3 * time.Second
		_ = send(t, fenced, http.MethodPut, lease+"ccm")
		next.takes = 0
		writes(true)
		if got := next.sent[len(next.sent)-1].URL.Query().Get("timeout"); got != "7s" {
			t.Errorf("the server may take %q, want 7s: the right counts from before the lease was sent", got)
		}
		<-time.After(7 * time.Second)
		writes(false)
		if err := send(t, fenced, http.MethodPost, "http://api/api/v1/namespaces/shop/events"); err != nil {
			t.Errorf("an Event: %v", err)
		}
		_ = send(t, fenced, http.MethodPost, lease[:len(lease)-1]) // the lease is made
		writes(true)
	})
}

func TestOneAttempt(t *testing.T) {
	for status, want := range map[int]string{http.StatusInternalServerError: "", http.StatusTooManyRequests: "1"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://api/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := provider.OneAttempt(&transport{status: status}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got := response.Header.Get("Retry-After"); got != want {
			t.Errorf("%d: Retry-After %q, want %q", status, got, want)
		}
	}
}
