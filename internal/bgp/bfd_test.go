package bgp

import (
	"testing"
	"testing/synctest"
	"time"
)

// side is one end of a BFD session between two state machines in memory.
type side struct {
	session *bfdSession
	in      chan []byte
	out     *side
	mute    bool // its packets are lost
	sent    []time.Time
	downs   []string
}

func (s *side) send(final bool) {
	s.sent = append(s.sent, time.Now())
	if !s.mute {
		s.out.in <- s.session.packet(final).marshal()
	}
}

// speak is the loop of bfdSpeaker without sockets.
func (s *side) speak(stop chan struct{}, commands chan func()) {
	rate := s.session.rate()
	next, expiry := time.NewTimer(0), time.NewTimer(time.Hour)
	for {
		var answer bfdAnswer
		select {
		case <-stop:
			return
		case f := <-commands:
			f()
			continue
		case b := <-s.in:
			p, err := parseBFD(b)
			if err != nil {
				panic(err)
			}
			answer = s.session.receive(p, time.Now())
		case now := <-expiry.C:
			answer = s.session.expire(now)
		case <-next.C:
			answer.send = true
		}
		if answer.send {
			s.send(answer.final)
		}
		if now := s.session.rate(); now > 0 && (answer.send || now != rate) {
			rate = now
			next.Reset(s.session.interval())
		}
		if !s.session.deadline.IsZero() {
			expiry.Reset(time.Until(s.session.deadline))
		}
		if answer.down != "" {
			s.downs = append(s.downs, answer.down)
		}
	}
}

// pair runs two sides in a bubble; do asks a side's own goroutine.
func pair(t *testing.T, a, b BFD, story func(x, y *side, do func(*side, func()))) {
	synctest.Test(t, func(t *testing.T) {
		x, y := &side{session: newBFDSession(a), in: make(chan []byte, 100)}, &side{session: newBFDSession(b), in: make(chan []byte, 100)}
		x.out, y.out = y, x
		stop := make(chan struct{})
		commands := map[*side]chan func(){x: make(chan func()), y: make(chan func())}
		for s, c := range commands {
			go s.speak(stop, c)
		}
		story(x, y, func(s *side, f func()) {
			done := make(chan struct{})
			commands[s] <- func() { f(); close(done) }
			<-done
		})
		close(stop)
		synctest.Wait()
	})
}

func TestBFDComesUpAndSendsAtTheSlowerSidesRate(t *testing.T) {
	fast := BFD{Enabled: true, MinRx: 100 * time.Millisecond, MinTx: 100 * time.Millisecond, Multiplier: 3}
	slow := BFD{Enabled: true, MinRx: 400 * time.Millisecond, MinTx: 50 * time.Millisecond, Multiplier: 5}
	pair(t, fast, slow, func(x, y *side, do func(*side, func())) {
		time.Sleep(4 * time.Second)
		for _, s := range []*side{x, y} {
			do(s, func() {
				if s.session.state != bfdUp || s.session.polling || len(s.downs) > 0 {
					t.Errorf("state %s, polling %v, downs %q", s.session.state, s.session.polling, s.downs)
				}
				s.sent = nil
			})
		}
		time.Sleep(10 * time.Second)
		do(x, func() { between(t, x.sent, 300*time.Millisecond, 400*time.Millisecond) }) // the other side takes no more
		do(y, func() { between(t, y.sent, 75*time.Millisecond, 100*time.Millisecond) })  // its own wish is faster than x takes
		do(x, func() {
			if left := time.Until(x.session.deadline); left < 400*time.Millisecond || left > 500*time.Millisecond { // 5 × 100 ms
				t.Errorf("the detection time leaves %s", left)
			}
		})
	})
}

func between(t *testing.T, sent []time.Time, least, most time.Duration) {
	t.Helper()
	if len(sent) < 10 {
		t.Errorf("only %d packets", len(sent))
	}
	for i := range sent[1:] {
		if d := sent[i+1].Sub(sent[i]); d < least || d > most {
			t.Errorf("%s between two packets, want %s to %s", d, least, most)
			return
		}
	}
}

func TestBFDSendsSlowlyUntilItIsUp(t *testing.T) {
	quick := BFD{Enabled: true, MinRx: 10 * time.Millisecond, MinTx: 10 * time.Millisecond, Multiplier: 3}
	pair(t, quick, quick, func(x, y *side, do func(*side, func())) {
		do(y, func() { y.mute = true })
		time.Sleep(10 * time.Second)
		do(x, func() { x.sent = nil })
		time.Sleep(20 * time.Second)
		do(x, func() { between(t, x.sent, 750*time.Millisecond, time.Second) }) // RFC 5880, 6.8.3
	})
}

func TestBFDDetectsSilence(t *testing.T) {
	config := BFD{Enabled: true, MinRx: 100 * time.Millisecond, MinTx: 100 * time.Millisecond, Multiplier: 3}
	pair(t, config, config, func(x, y *side, do func(*side, func())) {
		time.Sleep(4 * time.Second)
		do(y, func() { y.mute = true })
		time.Sleep(300 * time.Millisecond)
		do(x, func() {
			if x.session.state != bfdDown || len(x.downs) != 1 || x.session.diag != diagExpired {
				t.Errorf("state %s, downs %q, diagnostic %d after 300 ms of silence", x.session.state, x.downs, x.session.diag)
			}
		})
		time.Sleep(time.Second)
		do(y, func() { // which is told, and doesn't need to wait for its own detection time
			if y.session.state == bfdUp || len(y.downs) != 1 {
				t.Errorf("the other side: state %s, downs %q", y.session.state, y.downs)
			}
			y.mute = false
		})
		time.Sleep(4 * time.Second)
		do(x, func() {
			if x.session.state != bfdUp || len(x.downs) != 1 {
				t.Errorf("after the silence: state %s, downs %q", x.session.state, x.downs)
			}
		})
	})
}

func TestBFDLeavingIsNoFailure(t *testing.T) {
	config := BFD{Enabled: true, MinRx: 100 * time.Millisecond, MinTx: 100 * time.Millisecond, Multiplier: 3}
	pair(t, config, config, func(x, y *side, do func(*side, func())) {
		time.Sleep(4 * time.Second)
		do(y, func() {
			y.session.leave()
			y.send(false)
			y.mute = true
		})
		time.Sleep(5 * time.Second)
		do(x, func() {
			if x.session.state != bfdDown || len(x.downs) != 0 {
				t.Errorf("state %s, downs %q", x.session.state, x.downs)
			}
		})
	})
}

func TestParseBFDRefuses(t *testing.T) {
	good := bfdPacket{state: bfdUp, multiplier: 3, mine: 1, yours: 2, minTx: 300 * time.Millisecond, minRx: time.Second}
	if got, err := parseBFD(good.marshal()); err != nil || got != good {
		t.Fatalf("%+v, %v", got, err)
	}
	if b := good.marshal(); b[12] != 0 || b[13] != 4 || b[14] != 0x93 || b[15] != 0xe0 { // 300,000 µs
		t.Errorf("300 ms is % x on the wire", b[12:16])
	}
	for name, change := range map[string]func([]byte) []byte{
		"short":              func(b []byte) []byte { return b[:23] },
		"length beyond":      func(b []byte) []byte { b[3] = 25; return b },
		"version":            func(b []byte) []byte { b[0] = 2 << 5; return b },
		"authentication":     func(b []byte) []byte { b[1] |= flagAuth; return b },
		"multipoint":         func(b []byte) []byte { b[1] |= flagMultipoint; return b },
		"multiplier 0":       func(b []byte) []byte { b[2] = 0; return b },
		"my discriminator":   func(b []byte) []byte { clear(b[4:8]); return b },
		"your discriminator": func(b []byte) []byte { clear(b[8:12]); return b },
		"poll and final":     func(b []byte) []byte { b[1] |= flagPoll | flagFinal; return b },
	} {
		if _, err := parseBFD(change(good.marshal())); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseBFD(f *testing.F) {
	f.Add(bfdPacket{state: bfdUp, multiplier: 3, mine: 1, yours: 2}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseBFD(b); err == nil {
			if again, err := parseBFD(p.marshal()); err != nil || again != p {
				t.Errorf("%+v, then %+v, %v", p, again, err)
			}
		}
	})
}
