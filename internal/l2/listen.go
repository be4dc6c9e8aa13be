package l2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"daymark/internal/vip"
)

// listen takes in what others say on p, until it is closed or of no more use.
func (a *Announcer) listen(ctx context.Context, p *port) error {
	frame := make([]byte, frameSize)
	for ctx.Err() == nil {
		n, err := p.conn.Receive(frame)
		switch {
		case err == nil:
			if c, ok := parse(frame[:n]); ok {
				a.hear(p, c)
			}
		case errors.Is(err, ErrLinkDown):
		case errors.Is(err, net.ErrClosed):
			return nil
		default:
			a.log.Debug("not listening any more", "link", p.link, "family", string(p.family), "err", err)
			a.reopen(p)
			return nil
		}
	}
	return nil
}

// reopen gives up a port of no more use. Whoever sends next opens it anew; a link that comes back makes everybody send.
func (a *Announcer) reopen(p *port) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ports[p.portKey] == p {
		_ = a.closePortLocked(p.portKey)
	}
}

// hear tells whom it concerns of a foreign frame.
func (a *Announcer) hear(p *port, c claim) {
	h := Heard{vip.Key{Addr: c.addr, Link: p.link}, c.kind, c.mac, time.Now()}
	if a.concerns(p, h) && a.heard != nil {
		a.heard(h)
	}
}

// concerns gives h to the listeners of its address, and reports whether it is news of an announced one.
func (a *Announcer) concerns(p *port, h Heard) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	listeners, announced := a.listeners[h.Key], a.entries[h.Key] != nil
	if len(listeners) == 0 && !announced || a.isOwnLocked(p, h.MAC) {
		return false
	}
	for _, l := range listeners {
		select {
		case l <- h:
		default: // the first is what it waits for
		}
	}
	return announced && a.isNewsLocked(h)
}

// isOwnLocked reports whether mac is one of this node's: on two links in one LAN it hears itself.
func (a *Announcer) isOwnLocked(p *port, mac MAC) bool {
	if mac == p.conn.MAC() {
		return true
	}
	for _, l := range a.links {
		if l.MAC == mac {
			return true
		}
	}
	return false
}

func (a *Announcer) isNewsLocked(h Heard) bool {
	n := news{h.Key, h.MAC, h.Kind}
	if at, ok := a.told[n]; ok && h.At.Sub(at) < quiet {
		return false
	}
	if len(a.told) >= rememberAt {
		clear(a.told)
	}
	a.told[n] = h.At
	a.metrics.heard.WithLabelValues(string(h.Kind)).Inc()
	return true
}

// Listen hears what other stations say of an address from now on, whether it is announced or not, until stop is called. The
// channel holds one frame until it is read; others that come meanwhile are lost. It is how the old holder of an address that
// was passed on learns that its successor has announced it.
func (a *Announcer) Listen(key vip.Key) (heard <-chan Heard, stop func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running {
		return nil, nil, ErrNotRunning
	}
	if _, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)}); err != nil {
		return nil, nil, err
	}
	l := make(chan Heard, 1)
	a.listeners[key] = append(a.listeners[key], l)
	return l, func() { a.unlisten(key, l) }, nil
}

func (a *Announcer) unlisten(key vip.Key, l chan Heard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(a.listeners[key]), func(x chan Heard) bool { return x == l })
	if len(rest) > 0 {
		a.listeners[key] = rest
		return
	}
	delete(a.listeners, key) // the next Set closes the port if nobody else needs it
}

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

// Probe asks the link whether anybody uses an address that this node has not, and waits 225 ms for an answer: three
// questions, far quicker than RFC 5227's 4 to 7 s, which no fail-over could wait for. nil means that nobody answered, or that the
// link has no neighbours; a *[Conflict] that somebody did; any other error that it isn't known.
func (a *Announcer) Probe(ctx context.Context, key vip.Key) error {
	heard, stop, err := a.Listen(key)
	if err != nil {
		return fmt.Errorf("probing for %s on %s: %w", key.Addr, key.Link, err)
	}
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, wait := range []time.Duration{60 * time.Millisecond, 60 * time.Millisecond, 105 * time.Millisecond} {
		neighbours, err := a.ask(key)
		if err != nil || !neighbours {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return fmt.Errorf("probing for %s on %s: %w", key.Addr, key.Link, ctx.Err())
		case h := <-heard:
			return &Conflict{h}
		case <-timer.C:
		}
	}
	return nil
}

// ask sends one probe and reports whether the link has neighbours to ask.
func (a *Announcer) ask(key vip.Key) (neighbours bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)})
	if err == nil && p.conn != nil {
		err = p.conn.Send(probe(key.Addr, p.conn.MAC()))
	}
	if err != nil {
		return false, fmt.Errorf("probing for %s on %s: %w", key.Addr, key.Link, err)
	}
	return p.conn != nil, nil
}
