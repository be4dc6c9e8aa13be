package election

import (
	"sync/atomic"
	"time"
)

// Pace joins the electors of one process, so that the leases which it holds cost the API server less than two requests a
// second together, however many they are. One lease is renewed every retry period; two and more the less often while the API
// server answers soon, though always soon enough for another attempt before the renew deadline, however the first one fails;
// see [Timing.attempt]. The zero Pace is ready; nil is one for each elector alone. Safe
// for concurrent use.
type Pace struct{ leases atomic.Int32 }

// renewal is the time for one renewal of a process: 1.67 a second leave room for what else is asked at rest.
const renewal = 600 * time.Millisecond

// period returns how often each of the leases that are held now is renewed.
func (p *Pace) period(t Timing) time.Duration {
	if p == nil {
		return t.RetryPeriod
	}
	each := time.Duration(p.leases.Load()) * renewal
	return max(t.RetryPeriod, min(each, t.RenewDeadline*11/20))
}

// renewing is what one elector tells a Pace. Its zero value says that it renews nothing.
type renewing bool

// set says whether the elector renews a lease from now on.
func (r *renewing) set(p *Pace, now bool) {
	if p == nil || bool(*r) == now {
		return
	}
	*r = renewing(now)
	if now {
		p.leases.Add(1)
	} else {
		p.leases.Add(-1)
	}
}
