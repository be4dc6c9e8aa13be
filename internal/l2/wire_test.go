package l2_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"

	"daymark/internal/l2"
)

// wire is a LAN in memory.
type wire struct {
	mu    sync.Mutex
	links []l2.Link
	ports map[*end]bool
	watch []chan struct{}
	opens int // how many ports were opened
	// How often the near end has joined a group. As a NIC does, it hears nothing of those that are for single addresses else.
	groups map[l2.MAC]int

	stalled chan struct{} // while it is open, sending from the near end takes as long
	waits   chan struct{} // nil, or told when something is sent and has to wait for that
}

func simulated() lan {
	w := &wire{ports: map[*end]bool{}, groups: map[l2.MAC]int{}, links: []l2.Link{
		{Name: "near", Index: 1, MAC: l2.MAC{2, 0, 0, 0, 0, 1}, Running: true},
		{Name: "far", Index: 2, MAC: l2.MAC{2, 0, 0, 0, 0, 2}, Running: true},
	}}
	return lan{w, "near", "far", 0, func() { w.run("near", false) }, func() { w.run("near", true) }, w.tell}
}

func (w *wire) run(name string, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.links {
		if w.links[i].Name == name {
			w.links[i].Running = up
		}
	}
	w.tellLocked()
}

func (w *wire) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tellLocked()
}

func (w *wire) tellLocked() {
	for _, c := range w.watch {
		c <- struct{}{}
	}
}

func (w *wire) find(name string) (l2.Link, error) {
	i := slices.IndexFunc(w.links, func(l l2.Link) bool { return l.Name == name })
	if i < 0 {
		return l2.Link{}, errors.New("no such link")
	}
	return w.links[i], nil
}

func (w *wire) Open(link string, family l2.Family) (l2.Port, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opens++
	if link == "lo" {
		return nil, l2.ErrNoNeighbours
	}
	l, err := w.find(link)
	if err != nil {
		return nil, err
	}
	e := &end{wire: w, link: l, family: family, in: make(chan []byte, 1<<14), closed: make(chan struct{})}
	w.ports[e] = true
	return e, nil
}

// open returns how many ports are open at the near end.
func (w *wire) open() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.ports {
		if e.link.Name == "near" {
			n++
		}
	}
	return n
}

// joined returns of how many groups the near end is a member.
func (w *wire) joined() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, times := range w.groups {
		n += times
	}
	return n
}

// opened returns how often a port was asked for.
func (w *wire) opened() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opens
}

func (w *wire) Watch(ctx context.Context, changed func([]l2.Link)) error {
	c := make(chan struct{}, 16)
	w.mu.Lock()
	w.watch = append(w.watch, c)
	w.mu.Unlock()
	for {
		w.mu.Lock()
		links := slices.Clone(w.links)
		w.mu.Unlock()
		// Both ends are in one memory, but of two stations.
		changed(slices.DeleteFunc(links, func(l l2.Link) bool { return l.Name == "far" }))
		select {
		case <-ctx.Done():
			return nil
		case <-c:
		}
	}
}

type end struct {
	wire   *wire
	link   l2.Link
	family l2.Family
	in     chan []byte
	closed chan struct{}
}

func (e *end) MAC() l2.MAC { return e.link.MAC }

func (e *end) Send(frame []byte) error {
	e.wire.mu.Lock()
	stalled := e.wire.stalled
	e.wire.mu.Unlock()
	if stalled != nil && e.link.Name == "near" {
		select {
		case e.wire.waits <- struct{}{}:
		default:
		}
		<-stalled
	}
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	if l, err := e.wire.find(e.link.Name); err != nil || !l.Running {
		return l2.ErrLinkDown
	}
	if !e.wire.ports[e] {
		return net.ErrClosed
	}
	to := l2.MAC(frame)
	single := to[0] == 0x33 && to[2] == 0xff
	for p := range e.wire.ports {
		if p.link.Name != e.link.Name && p.family == e.family && (!single || p.link.Name != "near" || e.wire.groups[to] > 0) {
			p.in <- slices.Clone(frame)
		}
	}
	return nil
}

func (e *end) Receive(frame []byte) (int, error) {
	select {
	case b := <-e.in:
		return copy(frame, b), nil
	case <-e.closed:
		return 0, net.ErrClosed
	}
}

func (e *end) Join(group netip.Addr) (io.Closer, error) {
	a := group.As16()
	m := &member{e.wire, l2.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}}
	m.count(1)
	return m, nil
}

// member is a membership of the near end.
type member struct {
	wire  *wire
	group l2.MAC
}

func (m *member) count(n int) {
	m.wire.mu.Lock()
	defer m.wire.mu.Unlock()
	m.wire.groups[m.group] += n
}

func (m *member) Close() error {
	m.count(-1)
	return nil
}

func (e *end) Close() error {
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	delete(e.wire.ports, e)
	close(e.closed)
	return nil
}
