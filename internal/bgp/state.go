package bgp

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// unreachable is after how long a session that does not come up, or not again, is reported with what its attempts met.
const unreachable = 20 * time.Second

// SessionEvent is what happened to the session with a peer.
type SessionEvent struct {
	Peer string // [Peer.Name]
	Up   bool
	// Reason is why the session is down, or what the last attempt to set it up met.
	Reason string
}

// PeerState is how the session with a peer stands.
type PeerState struct {
	Peer string `json:"peer"` // [Peer.Name]
	ASN  uint32 `json:"asn"`
	// State is the state of RFC 4271, 8.2.2, in lower case, or "waiting" before the session is set up.
	State string `json:"state"`
	// Since is when the session came up, or when it went down; zero before either.
	Since time.Time `json:"since,omitzero"`
	// Announced is how many paths the peer is offered.
	Announced int `json:"announced"`
	// Flaps is how often the session went down since the peer was configured.
	Flaps int `json:"flaps"`
	// BFD is "", "down", "init", "up" or "admindown".
	BFD string `json:"bfd,omitempty"`
	// Reason is why the session is not up, as far as is known.
	Reason string `json:"reason,omitempty"`
}

// Established reports whether the session is up.
func (p PeerState) Established() bool { return p.State == stateEstablished }

const (
	stateWaiting     = "waiting"
	stateEstablished = "established"
)

// states is what is known of every configured peer.
type states struct {
	log       *slog.Logger
	tell      func(SessionEvent)
	connected func(bool)
	events    chan SessionEvent

	mu    sync.Mutex // guards the rest
	peers map[string]*peerState
}

type peerState struct {
	PeerState
	neighbor   netip.Addr
	password   bool
	configured time.Time
	told       bool // that it doesn't come up, since it was set up or up last
}

func newStates(o Options) *states {
	s := &states{log: o.Logger, tell: o.Session, connected: o.Connected, events: make(chan SessionEvent, 256), peers: map[string]*peerState{}}
	if s.tell == nil {
		s.tell = func(SessionEvent) {}
	}
	if s.connected == nil {
		s.connected = func(bool) {}
	}
	return s
}

// run tells events, which sessions don't come up, and whether any is up.
func (s *states) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	up := false
	for {
		if now := s.any(); now != up {
			up = now
			s.connected(up)
		}
		select {
		case <-ctx.Done():
			for len(s.events) > 0 {
				s.tell(<-s.events)
			}
			return
		case e := <-s.events:
			s.tell(e)
		case now := <-ticker.C:
			s.tellUnreachable(now)
		}
	}
}

// any reports whether a session is up.
func (s *states) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if p.Established() {
			return true
		}
	}
	return false
}

// established reports whether the session with a peer is up.
func (s *states) established(peer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[peer]
	return p != nil && p.Established()
}

func (s *states) tellUnreachable(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.peers {
		if p.Established() || p.told || now.Sub(p.configured) < unreachable || now.Sub(p.Since) < unreachable {
			continue
		}
		p.told = true
		reason := cmp.Or(p.Reason, "no answer")
		if p.password {
			reason += " (a password that is not the router's looks like no answer)"
		}
		s.log.Warn("session doesn't come up", "peer", name, "err", reason)
		s.sendLocked(SessionEvent{Peer: name, Reason: reason})
	}
}

// sendLocked drops an event rather than wait: the log has it too.
func (s *states) sendLocked(e SessionEvent) {
	select {
	case s.events <- e:
	default:
	}
}

// keep forgets all but the given peers, and begins with those that are new.
func (s *states) keep(peers []Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[string]bool{}
	for _, p := range peers {
		keep[p.Name()] = true
		if s.peers[p.Name()] == nil {
			s.peers[p.Name()] = &peerState{
				PeerState: PeerState{Peer: p.Name(), ASN: p.ASN, State: stateWaiting}, neighbor: p.Addr, password: p.Password != "", configured: time.Now(),
			}
		}
	}
	for name := range s.peers {
		if !keep[name] {
			delete(s.peers, name)
		}
	}
}

// started says that a session was set up, anew perhaps.
func (s *states) started(w session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.peers[w.name]; p != nil {
		p.neighbor, p.password, p.ASN, p.configured, p.told, p.Reason = w.neighbor, w.password != "", w.asn, time.Now(), false, ""
	}
}

// reason notes what a peer, by its name or address, met last.
func (s *states) reason(peer, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.findLocked(peer); p != nil {
		p.Reason = why
	}
}

func (s *states) findLocked(peer string) *peerState {
	if p := s.peers[peer]; p != nil {
		return p
	}
	for _, p := range s.peers {
		if p.neighbor.IsValid() && p.neighbor.String() == peer {
			return p
		}
	}
	return nil
}

// changed notes a session's new state and, when it went, why.
func (s *states) changed(neighbor netip.Addr, state, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.findLocked(neighbor.String())
	if p == nil {
		return
	}
	was := p.Established()
	p.State = state
	switch is := p.Established(); {
	case is && !was:
		p.Since, p.Reason, p.told = time.Now(), "", false
		s.log.Info("session up", "peer", p.Peer, "asn", p.ASN)
		s.sendLocked(SessionEvent{Peer: p.Peer, Up: true})
	case was && !is:
		s.downLocked(p, cmp.Or(p.Reason, why, "the session ended"))
	}
}

func (s *states) downLocked(p *peerState, why string) {
	p.Since, p.Reason = time.Now(), why
	p.Flaps++
	s.log.Warn("session down", "peer", p.Peer, "asn", p.ASN, "err", why)
	s.sendLocked(SessionEvent{Peer: p.Peer, Reason: why})
}

// allDown says that the router stopped.
func (s *states) allDown(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if p.Established() {
			p.State = stateWaiting
			s.downLocked(p, why)
		}
		p.State = stateWaiting
	}
}

func (s *states) list() []PeerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []PeerState
	for _, p := range s.peers {
		out = append(out, p.PeerState)
	}
	slices.SortFunc(out, func(a, b PeerState) int { return cmp.Compare(a.Peer, b.Peer) })
	return out
}

// Peers returns how the session with each configured peer stands, in the order of their names.
func (s *Speaker) Peers() []PeerState {
	out := s.state.list()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range out {
		session, ok := s.sessions[out[i].Peer]
		if !ok {
			continue
		}
		if session.bfd.Enabled {
			out[i].BFD = cmp.Or(s.bfd.state(session.name), bfdDown.String())
		}
		if !out[i].Established() {
			continue
		}
		for prefix := range s.announced {
			if prefix.Addr().Is4() && session.ipv4.on || prefix.Addr().Is6() && session.ipv6.on {
				out[i].Announced++
			}
		}
	}
	return out
}
