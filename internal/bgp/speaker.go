package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
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
)

// Options are what a [Speaker] needs beside its configuration.
type Options struct {
	Logger *slog.Logger
	// Session is told when a session comes up, goes down or doesn't come up; nil is none. It is called by one goroutine at a time.
	Session func(SessionEvent)
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
	leaving   map[netip.Prefix]bool      // marked GRACEFUL_SHUTDOWN until withdrawn
	started   time.Time
	grew      time.Time // when the set last got an address
	settled   bool
}

// New returns a speaker that waits for [Speaker.Configure].
func New(o Options) *Speaker {
	s := &Speaker{
		log: o.Logger, state: newStates(o.Logger, o.Session), wake: make(chan struct{}, 1),
		sessions: map[string]session{}, announced: map[netip.Prefix]vip.Route{}, leaving: map[netip.Prefix]bool{},
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

// Leave marks the paths of addrs GRACEFUL_SHUTDOWN (RFC 8326) and waits [Config.Drain], or until ctx ends, so that routers use others before
// the next Set withdraws them. The mark stays as long as the path.
func (s *Speaker) Leave(ctx context.Context, addrs []vip.Address) error {
	s.mu.Lock()
	drain := time.Duration(0)
	if s.config != nil && s.router != nil && len(addrs) > 0 {
		drain = s.config.Drain
	}
	if drain == 0 {
		s.mu.Unlock()
		return nil
	}
	for _, a := range addrs {
		if prefix := a.Prefix.Masked(); s.has(prefix) {
			s.leaving[prefix] = true
		}
	}
	err := s.applyLocked(ctx)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

func (s *Speaker) has(prefix netip.Prefix) bool {
	_, ok := s.announced[prefix]
	return ok
}

// Waiting reports whether the speaker has no configuration yet, or none any more.
func (s *Speaker) Waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config == nil
}

// Run speaks until ctx ends. Then, with [Config.GracefulRestart], it withdraws what is held under a lease and goes without a word, so
// that peers keep the rest for the next process; without, it leaves as [Speaker.Leave] does, withdraws everything and closes the sessions. It returns
// once that is done, and nil.
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
	s.end(work)
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
func (s *Speaker) end(ctx context.Context) {
	s.mu.Lock()
	keep := s.config != nil && s.config.GracefulRestart > 0
	all := s.want
	s.mu.Unlock()
	if !keep {
		_ = s.Leave(ctx, all)
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

// bfdDown is told by BFD that a router is gone.
func (s *Speaker) bfdDown(name, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[name]
	if !ok || s.router == nil || s.running == nil {
		return
	}
	s.state.reason(name, why)
	if err := s.router.reset(s.running, session, "BFD is down"); err != nil {
		s.log.Warn("session not reset after BFD went down", "peer", name, "err", err)
	}
}

// applyLocked makes everything as wanted: the router, then the paths, then the sessions, so that a new one begins with all paths.
func (s *Speaker) applyLocked(ctx context.Context) error {
	if s.running == nil {
		return nil
	}
	if s.config == nil || len(s.config.Peers) == 0 {
		s.stopRouterLocked(false)
		s.state.keep(nil)
		return nil
	}
	if err := s.routerLocked(); err != nil {
		return err
	}
	if err := s.pathsLocked(time.Now()); err != nil {
		return err
	}
	if !s.settledLocked(time.Now()) {
		return nil
	}
	return s.sessionsLocked(ctx)
}

// settledLocked reports whether sessions may begin; it asks to be looked at again if not.
func (s *Speaker) settledLocked(now time.Time) bool {
	if s.settled || s.config.GracefulRestart == 0 {
		s.settled = true
		return true
	}
	quiet, most := s.grew.Add(settleQuiet).Sub(now), s.started.Add(settleMost).Sub(now)
	if s.grew.IsZero() {
		quiet = most
	}
	if wait := min(quiet, most); wait > 0 {
		time.AfterFunc(wait, s.wakeUp)
		return false
	}
	s.settled = true
	return true
}

// routerLocked starts the router, or starts it anew when what it is as a whole changed.
func (s *Speaker) routerLocked() error {
	is, err := s.config.speaks()
	if err != nil {
		return err
	}
	if s.router != nil && s.speaks == is {
		return nil
	}
	s.stopRouterLocked(false)
	restarted := s.config.GracefulRestart > 0 && !s.settled
	router, err := startRouter(s.running, is, restarted, slog.New(newGoBGPHandler(s.log.Handler(), s.state.reason)))
	if err != nil {
		return err
	}
	if err := router.watch(s.running, s.state.changed); err != nil {
		router.stop(false)
		return err
	}
	s.router, s.speaks = router, is
	s.log.Info("speaking BGP", "asn", is.asn, "router_id", is.routerID)
	return nil
}

func (s *Speaker) stopRouterLocked(keep bool) {
	if s.router == nil {
		return
	}
	s.bfd.set(nil)
	s.router.stop(keep)
	s.router = nil
	clear(s.sessions)
	clear(s.announced)
	clear(s.leaving)
	s.state.allDown("stopped")
}

// pathsLocked announces what is new or different and then withdraws what is not wanted, or not ours any more at now.
func (s *Speaker) pathsLocked(now time.Time) error {
	want := paths(s.config, s.want)
	var add, remove []netip.Prefix
	routes := make(map[netip.Prefix]vip.Route, len(want))
	for _, prefix := range sortedPrefixes(want) {
		p := want[prefix]
		if !p.live(now) {
			continue
		}
		if s.leaving[prefix] {
			p.route = leaving(p.route)
		}
		routes[prefix] = p.route
		if before, ok := s.announced[prefix]; !ok || !before.Equal(p.route) {
			add = append(add, prefix)
		}
	}
	for _, prefix := range sortedPrefixes(s.announced) {
		if _, ok := routes[prefix]; !ok {
			remove = append(remove, prefix)
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	s.log.Debug("paths change", "announced", len(add), "withdrawn", len(remove), "total", len(routes))
	announce := s.router.announce(add, func(p netip.Prefix) vip.Route { return routes[p] })
	for _, prefix := range add {
		s.announced[prefix] = routes[prefix] // also after an error: it may have been offered, and is withdrawn in the end
	}
	withdraw := s.router.withdraw(remove)
	if withdraw == nil {
		for _, prefix := range remove {
			delete(s.announced, prefix)
			delete(s.leaving, prefix)
		}
	}
	return errors.Join(announce, withdraw)
}

// sessionsLocked removes the sessions that changed or went and adds those that are new; the others are not touched.
func (s *Speaker) sessionsLocked(ctx context.Context) error {
	s.neighbors.set(s.config.links())
	want, wrong := s.config.sessions(s.neighbors.on)
	s.state.keep(s.config.Peers)
	keep := map[string]session{}
	for _, w := range want {
		keep[w.name] = w
	}
	var errs []error
	for name, have := range s.sessions {
		if keep[name] == have {
			continue
		}
		if err := s.router.remove(ctx, have); err != nil {
			errs = append(errs, err)
		}
		delete(s.sessions, name)
	}
	for _, w := range want {
		if _, ok := s.sessions[w.name]; ok {
			continue
		}
		if err := s.router.add(s.running, w); err != nil {
			wrong[w.name] = err
			continue
		}
		s.sessions[w.name] = w
		s.state.started(w)
		s.log.Info("peer added", "peer", w.name, "asn", w.asn, "port", w.port)
	}
	for name, err := range wrong {
		s.state.reason(name, fmt.Sprintf("not set up: %v", err))
	}
	s.bfd.set(s.sessions)
	return errors.Join(errs...)
}
