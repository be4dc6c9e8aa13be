package main

import (
	"daymark/internal/agent"
	"daymark/internal/l2"
	"daymark/internal/vip"
)

// heard takes in that another host uses an address that is announced here.
func (n *node) heard(h l2.Heard) {
	switch {
	case h.Kind != l2.Claim:
		return
	case h.Late:
		n.holder.Contest(h.Key, &l2.Conflict{Heard: h})
		return
	}
	defended := n.lan.Defend(h.Key)
	n.log.Warn("conflict", "addr", h.Addr, "link", h.Link, "peer", h.MAC.String(), "defended", defended)
	if n.services != nil {
		n.services.Conflict(h.Addr, h.MAC.String())
	}
	if n.controlPlane != nil {
		n.controlPlane.Conflict(h.Addr, h.MAC.String())
	}
}

// lanListener turns what is heard on the LAN into the news that a successor announced itself.
type lanListener struct{ lan *l2.Announcer }

// Listen is [agent.Listener].
func (l lanListener) Listen(key vip.Key) (<-chan agent.Said, func(), error) {
	frames, stop, err := l.lan.Listen(key)
	if err != nil {
		return nil, nil, err
	}
	heard, done := make(chan agent.Said), make(chan struct{})
	go func() {
		for {
			said := agent.Announced
			select {
			case f := <-frames:
				if f.Kind == l2.Query {
					said = agent.Probed
				}
			case <-done:
				return
			}
			select {
			case heard <- said:
			case <-done:
				return
			}
		}
	}()
	return heard, func() { close(done); stop() }, nil
}
