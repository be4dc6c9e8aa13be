package bgp

import (
	"math/rand/v2"
	"time"
)

// bfdState is the state of a BFD session, as on the wire (RFC 5880, 4.1).
type bfdState uint8

const (
	bfdAdminDown bfdState = iota
	bfdDown
	bfdInit
	bfdUp
)

func (s bfdState) String() string { return [...]string{"admindown", "down", "init", "up"}[s&3] }

// Diagnostics (RFC 5880, 4.1).
const (
	diagNone       = 0
	diagExpired    = 1
	diagSignalled  = 3
	diagAdminDown  = 7
	slowestBFDRate = time.Second // the least interval while a session is not up (RFC 5880, 6.8.3)
)

// bfdSession is the state machine of RFC 5880, 6.8, asynchronous mode without authentication, echo or demand. It has no clock of its own
// and sends nothing: its owner asks it what to send and when, and tells it what came and when.
type bfdSession struct {
	config     BFD
	local      uint32 // discriminator, not 0
	state      bfdState
	diag       uint8
	remote     uint32 // discriminator, 0 for not known
	remoteUp   bfdState
	remoteRx   time.Duration // RequiredMinRxInterval of the other side
	remoteTx   time.Duration // DesiredMinTxInterval of the other side
	remoteMult uint8
	tx         time.Duration // the interval at which we send now, before the other side's wish
	polling    bool          // until Final answers
	deadline   time.Time     // when the session is down unless something comes; zero while it is not up or coming up
}

func newBFDSession(config BFD) *bfdSession {
	return &bfdSession{
		config: config, local: rand.Uint32N(1<<32-1) + 1, state: bfdDown, remoteUp: bfdDown,
		remoteRx: time.Microsecond, // RFC 5880, 6.8.1: until the other side says
		tx:       max(config.MinTx, slowestBFDRate),
	}
}

// packet is what is to be sent now.
func (s *bfdSession) packet(final bool) bfdPacket {
	return bfdPacket{
		state: s.state, diag: s.diag, poll: s.polling && !final, final: final, multiplier: s.config.Multiplier, mine: s.local, yours: s.remote,
		minTx: s.desiredTx(), minRx: s.config.MinRx,
	}
}

func (s *bfdSession) desiredTx() time.Duration {
	if s.state != bfdUp {
		return max(s.config.MinTx, slowestBFDRate)
	}
	return s.config.MinTx
}

// rate is the interval between periodic packets that both sides agree on now; 0 means that the other side wants none.
func (s *bfdSession) rate() time.Duration {
	if s.remoteRx == 0 {
		return 0
	}
	return max(s.tx, s.remoteRx)
}

// interval is how long to wait before the next periodic packet: the rate, with the jitter of RFC 5880, 6.8.7.
func (s *bfdSession) interval() time.Duration {
	base := s.rate()
	most := 0.25
	if s.config.Multiplier == 1 {
		most = 0.15
		base = base * 9 / 10
	}
	return base - time.Duration(rand.Float64()*most*float64(base))
}

// bfdAnswer is what a packet calls for.
type bfdAnswer struct {
	send  bool   // at once
	final bool   // as an answer to a poll
	down  string // the session went down, for this reason; nothing for no
}

// receive takes a packet that is for this session (RFC 5880, 6.8.6).
func (s *bfdSession) receive(p bfdPacket, now time.Time) bfdAnswer {
	var answer bfdAnswer
	s.remote, s.remoteUp, s.remoteRx, s.remoteTx, s.remoteMult = p.mine, p.state, p.minRx, p.minTx, p.multiplier
	if p.final && s.polling {
		s.polling = false
	}
	if s.state == bfdAdminDown {
		return answer
	}
	was := s.state
	switch {
	case p.state == bfdAdminDown:
		s.become(bfdDown, diagSignalled) // on purpose, which is no reason to end the BGP session (RFC 5882, 3.2)
	case s.state == bfdDown && p.state == bfdDown:
		s.become(bfdInit, diagNone)
	case s.state == bfdDown && p.state == bfdInit, s.state == bfdInit && (p.state == bfdInit || p.state == bfdUp):
		s.become(bfdUp, diagNone)
	case s.state == bfdUp && p.state == bfdDown:
		s.become(bfdDown, diagSignalled)
		answer.down = "BFD: the router says that the session is down"
	}
	answer.send, answer.final = p.poll || s.state != was, p.poll
	if s.state == bfdDown {
		s.deadline = time.Time{}
		return answer
	}
	s.deadline = now.Add(time.Duration(s.remoteMult) * max(s.config.MinRx, s.remoteTx))
	return answer
}

// expire takes the session down if nothing came in time (RFC 5880, 6.8.4).
func (s *bfdSession) expire(now time.Time) bfdAnswer {
	if s.deadline.IsZero() || now.Before(s.deadline) {
		return bfdAnswer{}
	}
	was := s.state
	s.become(bfdDown, diagExpired)
	s.deadline, s.remote, s.remoteRx = time.Time{}, 0, time.Microsecond
	if was != bfdUp {
		return bfdAnswer{send: true}
	}
	return bfdAnswer{send: true, down: "BFD: nothing heard from the router in the detection time"}
}

// become changes the state, and the rate of sending with it: a change of rate is polled (RFC 5880, 6.8.3).
func (s *bfdSession) become(state bfdState, diag uint8) {
	if s.state == state {
		return
	}
	s.state, s.diag = state, diag
	tx := s.desiredTx()
	s.polling = state == bfdUp && tx != s.tx
	s.tx = tx
}

// leave says that the session ends on purpose.
func (s *bfdSession) leave() {
	s.become(bfdAdminDown, diagAdminDown)
	s.deadline = time.Time{}
}
