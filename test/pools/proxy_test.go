package pools_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"daymark/test/require"
)

// fault is what happens to a write of a Service on its way.
type fault int

const (
	none fault = iota
	conflict
	throttle
	broken     // 500, not done
	brokenDone // 500, though it was done
	lost       // done, and the connection ends without an answer
	cut        // the connection ends, and it was not done
	slow       // done late
	faults
)

// proxy stands between the ccm and the API server and does harm to a share of the writes of Services.
type proxy struct {
	kubeconfig string
	mu         sync.Mutex
	random     *rand.Rand
	share      float64
	counts     [faults]int
	requests   map[string]int // by method and kind of object
}

// proxy starts a proxy for the API server, with an administrator's rights.
func (b *bed) proxy(t testing.TB, share float64) *proxy {
	t.Helper()
	target := require.Value(url.Parse(b.Config.Host))(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := &proxy{random: rand.New(rand.NewPCG(seed, 1)), share: share, requests: map[string]int{}}
	reverse := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     require.Value(rest.TransportFor(b.Config))(t),
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.pass(w, r, reverse)
	}))
	t.Cleanup(server.CloseClientConnections)
	p.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
users: [{name: a, user: {}}]
current-context: a
`, server.URL)
	require.NoError(t, os.WriteFile(p.kubeconfig, []byte(text), 0o600))
	return p
}

// count notes a request: "PATCH services".
func (p *proxy) count(r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if i := slices.Index(parts, "namespaces"); i >= 0 && i+2 < len(parts) {
		parts = parts[i+2:]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests[r.Method+" "+parts[0]]++
}

func (p *proxy) draw(r *http.Request) fault {
	p.count(r)
	if r.Method != http.MethodPatch && r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/services/") {
		return none
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := none
	if p.random.Float64() < p.share {
		f = fault(1 + p.random.IntN(int(faults)-1))
	}
	p.counts[f]++
	return f
}

func (p *proxy) pass(w http.ResponseWriter, r *http.Request, to http.Handler) {
	status := func(code int, reason string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"injected"}`, reason, code)
	}
	switch p.draw(r) {
	case conflict:
		status(http.StatusConflict, "Conflict")
	case throttle:
		status(http.StatusTooManyRequests, "TooManyRequests")
	case broken:
		status(http.StatusInternalServerError, "InternalError")
	case brokenDone:
		to.ServeHTTP(httptest.NewRecorder(), r)
		status(http.StatusInternalServerError, "InternalError")
	case lost:
		to.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case cut:
		panic(http.ErrAbortHandler)
	case slow:
		<-time.After(500 * time.Millisecond)
		to.ServeHTTP(w, r)
	default:
		to.ServeHTTP(w, r)
	}
}
