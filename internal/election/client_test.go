package election_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"daymark/internal/election"
)

// wire carries TCP connections to a server until it is told to forget those that there are: they stay open, and what is sent into
// them gets no answer of any kind.
type wire struct {
	net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex
	cut   chan struct{} // closed and replaced to forget
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to, cut: make(chan struct{})}
	w.wg.Go(w.serve)
	t.Cleanup(func() {
		w.forget()
		_ = l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

func (w *wire) serve() {
	for {
		near, err := w.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, near, far)
		cut := w.cut
		w.mu.Unlock()
		w.wg.Go(func() { carry(far, near, cut) })
		w.wg.Go(func() { carry(near, far, cut) })
	}
}

// carry copies until cut, and closes to when from has ended before.
func carry(to, from net.Conn, cut chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-cut:
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.cut)
	w.cut = make(chan struct{})
}

// TestRetryAfterIsTold has an API server that asks for a delay: the request ends at once, and its error says for how long.
func TestRetryAfterIsTold(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			http.Error(w, "too many", code)
		}))
		defer server.Close()
		client, err := election.NewClient(&rest.Config{Host: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = client.Leases("kube-system").Update(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.UpdateOptions{})
		if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds != 7 || ctx.Err() != nil {
			t.Errorf("%d: error %v, which asks for %d s, and the context's %v; want 7 s at once", code, err, seconds, ctx.Err())
		}
	}
}

// TestDeadConnectionIsGivenUp has an API server that speaks HTTP/2, and a connection to it that dies without a word: a request into
// it is lost, and the next one takes another connection. Over HTTP/2 all would go into the dead one.
func TestDeadConnectionIsGivenUp(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"x","resourceVersion":"1"}}`)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, u.Host)
	client, err := election.NewClient(&rest.Config{
		Host: "https://" + w.Addr().String(), TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := client.Leases("kube-system").Get(ctx, "x", metav1.GetOptions{})
		return err
	}
	if err := get(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	w.forget()
	if err := get(300 * time.Millisecond); err == nil {
		t.Fatal("the connection is not dead")
	}
	if err := get(20 * time.Second); err != nil { // sooner than an HTTP/2 connection is found dead
		t.Errorf("the next request went into the dead connection: %v", err)
	}
}
