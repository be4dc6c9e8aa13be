package bgp

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"daymark/internal/vip"
)

const (
	// retry is how often a peer that can't be set up, for want of a link or of a neighbour on it, is tried again.
	retry = time.Second
	// After a start under graceful restart the sessions wait until the set has not grown for settleQuiet, but no longer than
	// settleMost: the End-of-RIB that follows the paths makes peers drop all others.
	settleQuiet = 2 * time.Second
	settleMost  = 15 * time.Second
	// flush is how long the last withdrawals get to leave; there is nothing that tells.
	flush = 250 * time.Millisecond
)

// Options are what a [Speaker] needs beside its configuration.
type Options struct {
	Logger *slog.Logger
	// Session is told when a session comes up, goes down or doesn't come up; nil is none. It is called by one goroutine at a time.
	Session func(SessionEvent)
	// Connected is told when the first session comes up (true) and when the last one goes down (false); nil is none. It is called by one goroutine
	// at a time.
	Connected func(bool)
}

// Speaker announces a set of addresses to the routers of its configuration. It does nothing before [Speaker.Run], and waits until it is
// configured. All methods are safe for concurrent use.
type Speaker struct {
	log       *slog.Logger
	state     *states
	bfd       *bfdSpeaker
	neighbors *neighbors
	wake      chan struct{} // something for Run to look at

	mu        sync.Mutex // guards the rest
	config    *Config
	want      []vip.Address
	running   context.Context // of Run; nil before and after
	router    *router         // nil while there is nothing to peer with
	speaks    speaks
	sessions  map[string]session         // in the router, by name
	announced map[netip.Prefix]vip.Route // in the router
	started   time.Time
	grew      time.Time // when the set last got an address
	settled   bool
}

// New returns a speaker that waits for [Speaker.Configure].
func New(o Options) *Speaker {
	s := &Speaker{
		log: o.Logger, state: newStates(o), wake: make(chan struct{}, 1),
		sessions: map[string]session{}, announced: map[netip.Prefix]vip.Route{},
	}
	s.bfd = newBFDSpeaker(o.Logger, s.bfdDown)
	s.neighbors = newNeighbors(o.Logger)
	return s
}

// Configure makes c what the speaker goes by; nil ends every session and waits. Only peers that changed are touched, unless the local AS or the
// router ID changes. A peer that can't be set up yet is no error: it shows in [Speaker.Peers] and is tried again. After an error the earlier
// configuration is in force.
func (s *Speaker) Configure(ctx context.Context, c *Config) error {
	if c != nil {
		if err := c.Validate(); err != nil {
			return err
		}
		if _, err := c.speaks(); err != nil {
			return err
		}
		copied := *c
		c = &copied
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	return s.applyLocked(ctx)
}

// Set makes want the addresses that are announced, each prefix once. It returns nil once the peers are being told; while the speaker waits for a
// configuration it only remembers want. An address whose right has run out is withdrawn without being asked to.
func (s *Speaker) Set(ctx context.Context, want []vip.Address) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(vip.Diff(s.want, want).Add) > 0 {
		s.grew = time.Now()
	}
	s.want = vip.Union(want)
	err := s.applyLocked(ctx)
	s.wakeUp() // moments to watch may have changed
	return err
}

// leave marks every path GRACEFUL_SHUTDOWN (RFC 8326) and waits [Config.Drain], so that routers use others before they are withdrawn.
func (s *Speaker) leave() {
	s.mu.Lock()
	if s.config == nil || s.config.Drain == 0 || s.router == nil || len(s.announced) == 0 {
		s.mu.Unlock()
		return
	}
	drain := s.config.Drain
	s.want = slices.Clone(s.want)
	for i := range s.want {
		s.want[i].Route.Leaving = true
	}
	err := s.pathsLocked(time.Now())
	s.mu.Unlock()
	if err != nil {
		s.log.Warn("not marked as leaving", "err", err)
		return
	}
	timer := time.NewTimer(drain)
	defer timer.Stop()
	<-timer.C
}

// Waiting reports whether the speaker has no configuration yet, or none any more.
func (s *Speaker) Waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config == nil
}

// Run speaks until ctx ends. Then, with [Config.GracefulRestart], it withdraws what is held under a lease and goes without a word, so
// that peers keep the rest for the next process; without, it marks every path GRACEFUL_SHUTDOWN (RFC 8326), waits [Config.Drain], withdraws everything
// and closes the sessions. It returns once that is done, and nil.
func (s *Speaker) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var tasks sync.WaitGroup
	tasks.Go(func() { s.bfd.run(work) })
	tasks.Go(func() { s.neighbors.run(work) })
	tasks.Go(func() { s.state.run(work) })

	s.mu.Lock()
	s.running, s.started = work, time.Now()
	s.mu.Unlock()
	s.loop(ctx)
	s.end()
	stop()
	tasks.Wait()
	return nil
}

// loop applies what is wanted whenever a moment comes at which it may have changed.
func (s *Speaker) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-s.neighbors.changed:
		case <-timer.C:
		}
		s.mu.Lock()
		if err := s.applyLocked(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("not announced as wanted", "err", err)
		}
		next := s.nextLocked(time.Now())
		s.mu.Unlock()
		timer.Reset(next)
	}
}

// nextLocked returns when to look again: when the next right runs out, at the latest after a while.
func (s *Speaker) nextLocked(now time.Time) time.Duration {
	next := time.Minute
	if s.config != nil && len(s.sessions) < len(s.config.Peers) {
		next = retry
	}
	for _, a := range s.want {
		if left := a.Until.Sub(now); !a.Until.IsZero() && left > 0 {
			next = min(next, left)
		}
	}
	return next
}

func (s *Speaker) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end stops speaking.
func (s *Speaker) end() {
	s.mu.Lock()
	keep := s.config != nil && s.config.GracefulRestart > 0
	s.mu.Unlock()
	if !keep {
		s.leave()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = nil
	if s.router == nil {
		return
	}
	if keep {
		s.bfd.leave()
		s.want = withoutEnd(s.want)
	} else {
		s.want = nil
	}
	if err := s.pathsLocked(time.Now()); err != nil {
		s.log.Warn("not withdrawn", "err", err)
	}
	if keep { // no NOTIFICATION will follow that ends what a withdrawal still on its way should have ended
		flushed := time.NewTimer(flush)
		<-flushed.C
	}
	s.stopRouterLocked(keep)
}

// withoutEnd returns the addresses that are not held under a lease: a successor may already hold those that are.
func withoutEnd(addrs []vip.Address) []vip.Address {
	var out []vip.Address
	for _, a := range addrs {
		if a.Until.IsZero() {
			out = append(out, a)
		}
	}
	return out
}
