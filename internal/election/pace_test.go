package election_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"daymark/internal/election"
)

// pod is a process as most run it: for the control plane and, under one lease, for Services. It renews three leases by one Pace.
type pod struct {
	*election.Lease
	services election.Elector
}

func (p pod) Run(ctx context.Context, apply election.Apply) error {
	var rights [2][]election.Right
	applying := make(chan struct{}, 1)
	part := func(i int) election.Apply {
		return func(ctx context.Context, its []election.Right) error {
			applying <- struct{}{}
			defer func() { <-applying }()
			rights[i] = its
			return apply(ctx, slices.Concat(rights[0], rights[1]))
		}
	}
	done := make(chan error)
	go func() { done <- p.services.Run(ctx, part(1)) }()
	if err := p.Lease.Run(ctx, part(0)); err != nil {
		return err
	}
	return <-done
}

func podProc(w *world, name string, timing election.Timing, services []election.Claim) *proc {
	return w.process(name, func(p *proc) election.Elector {
		cfg := p.config()
		cfg.Timing, cfg.Pace = timing, new(election.Pace)
		g, m := gated(w, cfg, cfg)
		g.Set(leased(services))
		l, err := election.NewLease(election.LeaseConfig{Config: cfg, Name: leaseName, Peers: m})
		if err != nil {
			w.t.Fatal(err)
		}
		l.Set([]election.Claim{{Name: "cp"}})
		return pod{l, g}
	})
}

func seconds(lease, renew, retry float64) election.Timing {
	s := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	return election.Timing{LeaseDuration: s(lease), RenewDeadline: s(renew), RetryPeriod: s(retry)}
}

// TestHungRequests has every connection die without a word, at every moment of a renewal's life; new ones work. A request that
// hangs in one is given up in time for another, however many leases share a pace.
func TestHungRequests(t *testing.T) {
	for _, timing := range []election.Timing{election.DefaultTiming(), seconds(15, 10, 2), seconds(60, 40, 10), seconds(4, 2, 1), seconds(10, 6, 4), seconds(2, 1.5, 0.3)} {
		services := claims(4)
		for kind, make := range map[string]func(w *world) *proc{
			"one lease": func(w *world) *proc {
				return w.process("a", func(p *proc) election.Elector {
					cfg := p.config()
					cfg.Timing = timing
					l, err := election.NewLease(election.LeaseConfig{Config: cfg, Name: leaseName})
					if err != nil {
						w.t.Fatal(err)
					}
					l.Set([]election.Claim{{Name: "cp"}})
					return l
				})
			},
			"three leases": func(w *world) *proc { return podProc(w, "a", timing, services) },
		} {
			story(t, fmt.Sprintf("%s, %v", kind, timing), func(w *world) {
				w.lasts = timing.LeaseDuration
				a := make(w)
				a.start()
				time.Sleep(4 * timing.LeaseDuration)
				held := []election.Claim{{Name: "cp"}}
				if kind == "three leases" {
					held = append(held, services...)
				}
				if !w.allHeld(held) {
					w.fail("not all is held: %v", a.held())
				}
				w.forgiveGaps()
				step := timing.RetryPeriod / 30
				for moment := time.Duration(0); moment < 2*timing.RenewDeadline; moment += step {
					a.path.cut()
					time.Sleep(timing.RetryPeriod / 4)
					a.path.mendAnew()
					time.Sleep(2*timing.RenewDeadline + step)
					if gap := w.longestOf(held); gap > 0 {
						w.fail("nobody held for %v", gap)
					}
				}
			})
		}
	}
}

// TestSlowAnswers has the API server answer ever later: as long as there is time for an answer and for another attempt, nobody loses a right.
func TestSlowAnswers(t *testing.T) {
	story(t, "three leases", func(w *world) {
		services := claims(4)
		a := podProc(w, "a", election.DefaultTiming(), services)
		a.start()
		time.Sleep(20 * time.Second)
		held := append(slices.Clone(services), election.Claim{Name: "cp"})
		w.forgiveGaps()
		for late := time.Duration(0); late <= 1200*time.Millisecond; late += 100 * time.Millisecond {
			a.path.setDelay(func() time.Duration { return late/2 + time.Millisecond })
			time.Sleep(20 * time.Second)
			if gap := w.longestOf(held); gap > 0 {
				w.fail("answers take %v: nobody held for %v", late, gap)
			}
		}
	})
}

// TestAttemptsFit looks at all sorts of timings: a first renewal, however it fails, leaves time for a second one.
func TestAttemptsFit(t *testing.T) {
	for range 20_000 {
		retry := time.Second/10 + rand.N(20*time.Second)
		renew := retry*6/5 + 1 + rand.N(6*retry)
		timing := election.Timing{RetryPeriod: retry, RenewDeadline: renew, LeaseDuration: renew*20/19 + time.Second}
		if err := timing.Validate(); err != nil {
			t.Fatal(err)
		}
		for leases := range 6 {
			period := timing.Period(leases)
			room := renew - period - timing.Attempt(renew-period) - timing.LongestWait()
			if room < 0 || renew >= retry*3/2 && room < renew/12 {
				t.Errorf("%v, %d leases, renewed every %v: %v remain for a second attempt", timing, leases, period, room)
			}
		}
	}
}
