package election

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// requests sends one request at a time from a goroutine, each with a deadline, so that a hung connection holds nothing up.
// It is owned by the elector's loop, which receives from answers and then says done.
type requests struct {
	ctx     context.Context
	timing  Timing
	end     func() time.Time // when what depends on them is lost; zero where nothing does
	answers chan answer
	busy    bool
	late    bool // the last write took long
	wg      sync.WaitGroup
}

// answer is what became of one request.
type answer struct {
	kind  string
	seq   uint64
	sent  time.Time // a moment before the request left
	lease *coordinationv1.Lease
	err   error
}

func newRequests(ctx context.Context, timing Timing, end func() time.Time) *requests {
	return &requests{ctx: ctx, timing: timing, end: end, answers: make(chan answer, 1)}
}

// send starts do. Nothing may be under way. kind and seq come back with the answer.
func (r *requests) send(kind string, seq uint64, do func(context.Context) (*coordinationv1.Lease, error)) time.Time {
	r.busy = true
	sent, timeout := time.Now(), r.timing.request()
	if end := r.end(); !end.IsZero() {
		timeout = r.timing.attempt(end.Sub(sent))
	}
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, timeout)
		defer cancel()
		lease, err := do(ctx)
		r.answers <- answer{kind, seq, sent, lease, err}
	})
	return sent
}

// wrote takes in how long a write took.
func (r *requests) wrote(took time.Duration) { r.late = took > r.timing.RenewDeadline/6 }

// period returns how often to renew: as p says, or every retry period as long as answers come late, so that there is time
// to wait for each and for another attempt.
func (r *requests) period(p *Pace) time.Duration {
	if r.late {
		return r.timing.RetryPeriod
	}
	return p.period(r.timing)
}

// contradicted reports whether err says that the object is not what the request took it for, so that it must be read.
func contradicted(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// refused reports whether err is an answer that says that the request was not done, and will not be. What has no answer may be done yet,
// and what a server says that failed (5xx) may have been.
func refused(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return false
	}
	code := answer.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusRequestTimeout
}

// version returns a resourceVersion as a number. Versions of one kind of object are comparable since Kubernetes 1.35
// promises what etcd always did. What is no number is 0: older than everything.
func version(lease *coordinationv1.Lease) uint64 {
	if lease == nil {
		return 0
	}
	v, err := strconv.ParseUint(lease.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// duration returns how long others wait for the holder of lease, or or when it does not say, or there is none.
func duration(lease *coordinationv1.Lease, or time.Duration) time.Duration {
	if lease == nil {
		return or
	}
	if s := lease.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		return time.Duration(*s) * time.Second
	}
	return or
}

// holder returns the holder's identity; empty when the lease was released.
func holder(lease *coordinationv1.Lease) string {
	if lease == nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
