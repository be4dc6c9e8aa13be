package election

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// backoff decides when a loop asks the API server again after it was refused. Refusals of reads and of writes are counted apart:
// one who may read but not write would else start over with each read.
type backoff struct {
	timing        Timing
	reads, writes int       // that were refused since one was not
	conflicts     int       // in a row
	contradicted  time.Time // the last of them
}

// atOnce is how many conflicts in a row are no reason to wait: what is read next tells what there is now.
const atOnce = 3

// done takes in that a request of this kind succeeded.
func (b *backoff) done(kind string) {
	*b.refusals(kind) = 0
	if kind != "read" {
		b.conflicts = 0
	}
}

// failed returns when to ask again after a refusal, or after no answer, and whether it is the first in a row. It waits twice as
// long after each, up to the retry period, less up to a half by chance, so that nodes don't come back in step; and as long as
// the server asks for (Retry-After), up to the retry period as well. A request that hung has waited already. end is that of
// what depends on the request, or zero; see [backoff.until].
func (b *backoff) failed(a answer, now, end time.Time) (at time.Time, first bool) {
	n := b.refusals(a.kind)
	*n++
	wait := b.wait(*n)
	if seconds, ok := apierrors.SuggestsClientDelay(a.err); ok {
		wait = max(wait, min(time.Duration(seconds)*time.Second, b.timing.RetryPeriod))
	}
	return b.until(a.sent.Add(wait), now, end), *n == 1
}

// conflict returns when to read again after a conflict: at once, unless there were several in a row.
func (b *backoff) conflict(now, end time.Time) time.Time {
	if now.Sub(b.contradicted) > 2*b.timing.RetryPeriod {
		b.conflicts = 0
	}
	b.conflicts++
	b.contradicted = now
	if b.conflicts <= atOnce {
		return now
	}
	return b.until(now.Add(b.wait(b.conflicts-atOnce)), now, end)
}

// until returns at, but no later than after half of the time that is left to what is held until end, so that a server that
// recovers in time is asked in time; and not sooner than after the shortest wait.
func (b *backoff) until(at, now, end time.Time) time.Time {
	if !end.IsZero() {
		at = earlier(at, now.Add(end.Sub(now)/2))
	}
	return later(at, now.Add(b.wait(1)))
}

func (b *backoff) refusals(kind string) *int {
	if kind == "read" {
		return &b.reads
	}
	return &b.writes
}

// wait returns how long to wait after the nth refusal in a row.
func (b *backoff) wait(n int) time.Duration {
	d := min(b.timing.RetryPeriod/10<<min(n-1, 4), b.timing.RetryPeriod)
	return d - rand.N(d/2+1)
}

// outspoken tells answers that ask for a delay (Retry-After) as errors. client-go would sleep inside the request for that long,
// and the loop could not ask again before the end of a right.
type outspoken struct{ http.RoundTripper }

func (o outspoken) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < http.StatusInternalServerError {
		return resp, err
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		return resp, nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what there is of it
	_ = resp.Body.Close()
	leases := schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	return nil, apierrors.NewGenericServerResponse(resp.StatusCode, r.Method, leases, "", strings.TrimSpace(string(text)), seconds, true)
}
