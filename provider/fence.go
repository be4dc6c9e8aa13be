package provider

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ErrFenced is in the error of every write that was not sent because the right to write had run out.
var ErrFenced = errors.New("the right to write has run out: the leader's lease was not renewed in time")

// Fence keeps a process that is no longer the leader from writing, also when it was stopped in the middle of anything and wakes later: it
// stands in the transport of every client of the process, sees each renewal of the leader's lease go by, and lets writes pass only until Valid
// after the beginning of the last one that succeeded, by the monotonic clock. Each write carries the rest of that time as the server-side
// time-out of the request, so that the API server drops what reaches it in time but would be done too late.
//
// What remains is a process that is stopped between the test and the system call, or a request under way for longer than the lease lasts beyond Valid.
// Such a write still has to pass the tests of its patch, so it can't change a Service that the new leader served; and an address that thereby
// has two owners is found by the new leader when it sees the write, and one of them gets another.
//
// Reading, the lease itself and Events are not fenced. Safe for concurrent use.
type Fence struct {
	lease string // path of the lease
	valid time.Duration

	mu    sync.Mutex
	until time.Time
}

// NewFence returns a fence for the lease namespace/name. valid is at most the renew deadline of the election, which is shorter than what others wait.
func NewFence(namespace, name string, valid time.Duration) *Fence {
	return &Fence{lease: "/apis/coordination.k8s.io/v1/namespaces/" + namespace + "/leases/" + name, valid: valid}
}

// Wrap returns a transport that sends through next what may be sent.
func (f *Fence) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(r.URL.Path, "/events"):
			return next.RoundTrip(r)
		case strings.Contains(r.URL.Path, "/leases"):
			return f.renew(next, r)
		}
		rest := f.rest()
		if rest < shortest {
			if r.Body != nil {
				_ = r.Body.Close() // RoundTrip must, also on errors
			}
			return nil, ErrFenced
		}
		r = r.Clone(r.Context())
		query := r.URL.Query()
		query.Set("timeout", rest.Round(time.Millisecond).String())
		r.URL.RawQuery = query.Encode()
		return next.RoundTrip(r)
	})
}

// Open reports whether a write may be sent now, for those to an API that isn't behind the fence.
func (f *Fence) Open() bool { return f.rest() >= shortest }

func (f *Fence) rest() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Until(f.until)
}

// renew sends a write of a lease. The right counts from before it was sent: others count from when they saw it.
func (f *Fence) renew(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	begun := time.Now()
	response, err := next.RoundTrip(r)
	ours := r.URL.Path == f.lease || r.Method == http.MethodPost && f.lease[:strings.LastIndexByte(f.lease, '/')] == r.URL.Path
	if err == nil && ours && response.StatusCode < 300 {
		f.mu.Lock()
		f.until = begun.Add(f.valid)
		f.mu.Unlock()
	}
	return response, err
}

// shortest is the least time worth a request; a time-out of 0 would mean none.
const shortest = 10 * time.Millisecond

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
