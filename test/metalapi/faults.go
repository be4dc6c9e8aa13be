package metalapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong with a call.
type Fault struct {
	// Call is the pattern of the calls that it hits, such as "POST /devices/{device}/ips", or a part of one; "" hits all.
	Call string
	// Times is how many calls it hits, one after the other; 0 is every call from now on.
	Times int
	// Latency is waited before anything else.
	Latency time.Duration
	// Status, if not 0, is answered instead of doing the call.
	Status int
	// Text is the error text sent with Status.
	Text string
	// RetryAfter, in whole seconds, is sent with Status if it isn't 0.
	RetryAfter time.Duration
	// DropAnswer closes the connection after the call was done: a half-done operation.
	DropAnswer bool
	// Before and After, unless nil, run before and after the call is done, and it waits for them. Their context ends when the caller goes away, and then what
	// wasn't done isn't done any more.
	Before, After func(context.Context)
}

// Inject adds a fault. Where several match a call the first injected is played.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal removes every fault.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (f *Fault) matches(pattern string) bool { return strings.Contains(pattern, f.Call) }

// delay waits for the fault's latency; an error means that the caller went away.
func (f *Fault) delay(r *http.Request) error {
	if f == nil {
		return nil
	}
	if f.Latency > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), f.Latency)
		defer cancel()
		<-ctx.Done()
	}
	if f.Before != nil {
		f.Before(r.Context())
	}
	return r.Context().Err()
}

// before reports whether the fault answered in the call's place.
func (f *Fault) before(w http.ResponseWriter) bool {
	if f == nil || f.Status == 0 {
		return false
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
	}
	text := f.Text
	if text == "" {
		text = http.StatusText(f.Status)
	}
	reply(w, f.Status, failure(text))
	return true
}

func (f *Fault) after(ctx context.Context) {
	if f != nil && f.After != nil {
		f.After(ctx)
	}
	if f != nil && f.DropAnswer {
		panic(http.ErrAbortHandler)
	}
}
