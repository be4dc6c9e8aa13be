package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"daymark/internal/vip"
)

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
	if err := router.watch(s.running, s.changed); err != nil {
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
	s.bfd.set(s.establishedLocked())
	return errors.Join(errs...)
}

// establishedLocked returns the sessions that are up: BFD begins with them, as on routers. FRR makes its BFD session anew when BGP comes up, and takes the
// end of one that was up before for a failure.
func (s *Speaker) establishedLocked() map[string]session {
	up := make(map[string]session, len(s.sessions))
	for name, session := range s.sessions {
		if s.state.established(name) {
			up[name] = session
		}
	}
	return up
}

// changed is told of a session's new state.
func (s *Speaker) changed(neighbor netip.Addr, state, why string) {
	s.state.changed(neighbor, state, why)
	s.wakeUp()
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
