package election

import (
	"errors"
	"fmt"
	"time"
)

// Timing says how long a right lasts without renewal and how often it is renewed. Every node that shares a lease should
// have the same; what a holder publishes in the lease is what others wait for.
type Timing struct {
	// LeaseDuration is how long others wait after the last change of a lease that they saw, before they take it over. Leases
	// carry whole seconds, so a fraction makes others wait for the next one.
	LeaseDuration time.Duration
	// RenewDeadline is how long after its last successful renewal was sent a holder withdraws.
	RenewDeadline time.Duration
	// RetryPeriod is how often a holder renews, or a little less often where its process holds several leases; see [Pace].
	RetryPeriod time.Duration
}

// DefaultTiming returns kube-vip's defaults: 5, 3 and 1 seconds.
func DefaultTiming() Timing {
	return Timing{LeaseDuration: 5 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: time.Second}
}

// Validate reports every relation that does not hold: lease duration > renew deadline > 1.2 * retry period > 0, as
// client-go's elector demands it.
func (t Timing) Validate() error {
	var errs []error
	if t.RetryPeriod <= 0 {
		errs = append(errs, fmt.Errorf("retry period %v: must be positive", t.RetryPeriod))
	}
	if t.RenewDeadline <= t.RetryPeriod+t.RetryPeriod/5 {
		errs = append(errs, fmt.Errorf("renew deadline %v: must be more than 1.2 times the retry period %v", t.RenewDeadline, t.RetryPeriod))
	}
	if t.LeaseDuration <= t.RenewDeadline {
		errs = append(errs, fmt.Errorf("lease duration %v: must be longer than the renew deadline %v", t.LeaseDuration, t.RenewDeadline))
	}
	if t.LeaseDuration < time.Second {
		errs = append(errs, fmt.Errorf("lease duration %v: must be at least 1s", t.LeaseDuration))
	}
	return errors.Join(errs...)
}

// fence returns the end of a right whose last successful renewal was sent at sent. See [Right].Until.
func (t Timing) fence(sent time.Time) time.Time {
	return sent.Add(t.LeaseDuration - t.LeaseDuration/20)
}

// seconds returns the lease duration as leases carry it, rounded up.
func (t Timing) seconds() int32 {
	return int32((t.LeaseDuration + time.Second - 1) / time.Second)
}

// request returns how long one request to the API server may take; see also attempt.
func (t Timing) request() time.Duration { return t.RenewDeadline / 2 }

// attempt returns how long a request may take when what depends on it is lost after left: short enough that a second one over
// a new connection still fits in before. The last one, after which none would, has its full time: answered late, it gets
// back what was lost.
func (t Timing) attempt(left time.Duration) time.Duration {
	second := t.RenewDeadline / 6
	if left <= second {
		return t.request()
	}
	return min(t.request(), max(left/2, left-second))
}

const (
	// passing is how long the right to a passed claim goes on answering when the successor is not heard.
	passing = time.Second
	// passingFence is Until of a passed right, counted like passing: a kernel lifetime of whole seconds must not round down
	// to less than passing while the agent lives.
	passingFence = 2 * time.Second
)
