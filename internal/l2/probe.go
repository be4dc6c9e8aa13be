package l2

import (
	"context"
	"fmt"
	"maps"
	"time"

	"daymark/internal/vip"
)

// RFC 5227 asks three times within 4 to 7 s whether an address is free (2.1.1), which no Service could wait for. The questions
// here are as many, but far closer: a host on a wired LAN answers within a millisecond. One that is slower, as behind a busy
// radio link, is listened for after the address was taken into use: see [Heard].Late.
const (
	probes    = 3
	probeWait = 7 * time.Millisecond   // after each of them
	doubt     = 250 * time.Millisecond // from the first until silence is believed
	wary      = time.Minute            // after a late answer, in which probing waits for the whole of that time
)

// Conflict is the error of [Announcer.Probe] where another station uses the address, or is about to.
type Conflict struct{ Heard }

// Error says who does.
func (c *Conflict) Error() string {
	verb := "is used by"
	if c.Kind == Query {
		verb = "is asked for by"
	}
	return fmt.Sprintf("%s on %s %s %s", c.Addr, c.Link, verb, c.MAC)
}

// Probe asks the link three times whether anybody uses an address that this node has not, and waits 21 ms for an answer; a
// quarter of a second where an answer came late within the last minute. nil means that nobody answered, or that the link has
// no neighbours; a *[Conflict] that somebody did; any other error that it isn't known. After nil the answer is waited for on:
// one that comes within 250 ms of the first question is told as [Heard] with Late set, whether the address is announced yet
// or not, and who took it should let go of it.
//
// Any number of addresses can be probed for at once.
func (a *Announcer) Probe(ctx context.Context, key vip.Key) error { return a.ProbePast(ctx, key, nil) }

// ProbePast is Probe, to which it doesn't matter what past tells of: that is said by stations which may use the address for a moment, and let
// go of it by themselves. past is called while the announcer is locked: it must neither block nor call it.
func (a *Announcer) ProbePast(ctx context.Context, key vip.Key, past func(Heard) bool) error {
	heard, stop, err := a.listenPast(key, past)
	if err != nil {
		return fmt.Errorf("probing for %s on %s: %w", key.Addr, key.Link, err)
	}
	defer stop()
	defer a.join(key)()
	var asked time.Time
	for i := range probes {
		neighbours, err := a.ask(key)
		if err != nil || !neighbours {
			return err
		}
		if i == 0 {
			asked = time.Now() // not before: the announcer may have been busy with its ports
		}
		wait := probeWait
		if i == probes-1 && a.isSlow(key) {
			wait = doubt - (probes-1)*probeWait
		}
		if err := answer(ctx, heard, wait); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.doubts[key] = asked.Add(doubt)
	a.mu.Unlock()
	return answer(ctx, heard, 0) // what was heard before the doubt was noted
}

// answer waits for one, which it returns as an error.
func answer(ctx context.Context, heard <-chan Heard, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("probing: %w", ctx.Err())
	case h := <-heard:
		return &Conflict{h}
	case <-timer.C:
	}
	select {
	case h := <-heard:
		return &Conflict{h}
	default:
		return nil
	}
}

// join makes this node hear who else probes for an IPv6 address, until leave is called: NICs and switches that filter multicast pass on
// what was joined, and the kernel joins the group of an address only with the address itself (RFC 4862, 5.4.2 and 5.4.3). A node that
// can't join still hears who uses the address, since that is told to all nodes. The delay which the RFC asks for is for addresses that
// all nodes of a LAN make at one time, after a power cut or a router's advertisement. It isn't done under the lock: the kernel may be
// busy with its links.
func (a *Announcer) join(key vip.Key) (leave func()) {
	leave = func() {}
	if key.Addr.Is4() {
		return leave
	}
	a.mu.Lock()
	p, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)})
	a.mu.Unlock()
	if err != nil || p.conn == nil {
		return leave // there is nobody to hear
	}
	log := a.log.With("addr", key.Addr, "link", key.Link)
	member, err := p.conn.Join(solicitedNode(key.Addr))
	if err != nil {
		log.Warn("others that probe for the address may not be heard", "err", err)
		return leave
	}
	return func() {
		if err := member.Close(); err != nil {
			log.Debug("group not left", "err", err)
		}
	}
}

// ask sends one probe and reports whether the link has neighbours to ask.
func (a *Announcer) ask(key vip.Key) (neighbours bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)})
	if err == nil && p.conn != nil {
		err = a.tryLocked(p, probe(key.Addr, p.conn.MAC()))
	}
	if err != nil {
		return false, fmt.Errorf("probing for %s on %s: %w", key.Addr, key.Link, err)
	}
	return p.conn != nil, nil
}

func (a *Announcer) isSlow(key vip.Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.slow[key]
	return ok && time.Since(at) < wary
}

// forgetProbesLocked drops what is known of probes and is over.
func (a *Announcer) forgetProbesLocked(now time.Time) {
	maps.DeleteFunc(a.doubts, func(_ vip.Key, end time.Time) bool { return !now.Before(end) })
	maps.DeleteFunc(a.slow, func(_ vip.Key, at time.Time) bool { return now.Sub(at) >= wary })
}
