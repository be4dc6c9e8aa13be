package l2

import (
	"context"
	"errors"
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
	h := Heard{Key: vip.Key{Addr: c.addr, Link: p.link}, Kind: c.kind, MAC: c.mac, At: time.Now()}
	if a.concerns(p, &h) && a.heard != nil {
		a.heard(h)
	}
}

// concerns gives h to the listeners of its address, and reports whether it is news of one that is announced or about to be.
func (a *Announcer) concerns(p *port, h *Heard) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	entry, announced := a.entries[h.Key]
	if announced {
		h.Since = entry.since
	}
	listeners := a.listeners[h.Key]
	end, doubted := a.doubts[h.Key]
	if len(listeners) == 0 && !announced && !doubted || a.isOwnLocked(p, h.MAC) {
		return false
	}
	if doubted && h.Kind == Claim && h.At.Before(end) {
		h.Late = true
		a.slow[h.Key] = h.At
	}
	for _, l := range listeners {
		if l.past != nil && l.past(*h) {
			continue
		}
		select {
		case l.heard <- *h:
		default: // the first is what it waits for
		}
	}
	return (announced || h.Late) && a.isNewsLocked(*h)
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
	n := news{h.Key, h.MAC, h.Kind, h.Late}
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
	return a.listenPast(key, nil)
}

// listener hears what is said of one address.
type listener struct {
	heard chan Heard
	past  func(Heard) bool // what it does not hear; nil is nothing
}

// listenPast is Listen for all but what past tells of.
func (a *Announcer) listenPast(key vip.Key, past func(Heard) bool) (heard <-chan Heard, stop func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running {
		return nil, nil, ErrNotRunning
	}
	if _, err := a.portLocked(portKey{key.Link, familyOf(key.Addr)}); err != nil {
		return nil, nil, err
	}
	l := make(chan Heard, 1)
	a.listeners[key] = append(a.listeners[key], listener{l, past})
	return l, func() { a.unlisten(key, l) }, nil
}

func (a *Announcer) unlisten(key vip.Key, heard chan Heard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(a.listeners[key]), func(l listener) bool { return l.heard == heard })
	if len(rest) > 0 {
		a.listeners[key] = rest
		return
	}
	delete(a.listeners, key) // the next Set closes the port if nobody else needs it
}
