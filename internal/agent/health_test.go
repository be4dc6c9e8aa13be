package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/agent"
)

// TestHealthCheck gives one answer after another and sees after which the health changes.
func TestHealthCheck(t *testing.T) {
	for _, test := range []struct {
		name    string
		unasked bool
		answers []int
		want    string // "answer number: healthy"
	}{
		{"three in a row are unhealthy, one is healthy", false, []int{200, 500, 500, 200, 500, 500, 500, 500, 200}, "[7: false 9: true]"},
		{"the first answer counts at once", false, []int{500, 500, 200}, "[1: false 3: true]"},
		{"only 200 is healthy", false, []int{401}, "[1: false]"},
		{"a server that was never healthy is not judged when nobody asked for it", true, []int{500, 500, 500, 500}, "[]"},
		{"a server that was is, and one that wants to know who asks is well", true, []int{500, 401, 500, 500, 500, 403}, "[5: false 6: true]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked atomic.Int64
			all := make(chan struct{})
			var once sync.Once
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n := int(asked.Add(1))
				if n > len(test.answers) {
					once.Do(func() { close(all) })
					n = len(test.answers) // the same again: nothing changes
				}
				w.WriteHeader(test.answers[n-1])
			}))
			defer server.Close()
			ctx, cancel := context.WithCancel(t.Context())
			got := []string{}
			done := make(chan error, 1)
			check := agent.HealthCheck{URL: server.URL, Period: time.Millisecond, Timeout: 5 * time.Second, Failures: 3, Unasked: test.unasked, Logger: quietLog(t)}
			go func() {
				done <- check.Run(ctx, func(healthy bool) {
					if n := asked.Load(); int(n) <= len(test.answers) {
						got = append(got, fmt.Sprintf("%d: %v", n, healthy))
					}
				})
			}()
			<-all
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(test.want, fmt.Sprint(got)); d != "" {
				t.Error(d)
			}
		})
	}
}
