// Package l2 tells a LAN where addresses are: by gratuitous ARP (RFC 826, RFC 5227) and unsolicited neighbour advertisements
// (RFC 4861), at once when an address is taken, a few times more, and then now and then. It listens on the same links for
// others that use an address of ours, and asks whether an address is free before it is first used.
//
// Nothing is announced when the right to hold an address has run out, also when the process was stopped for a while: the
// deadline is looked at next to every send. Withdrawing sends nothing; the successor announces itself.
//
// It doesn't put addresses on links or answer for them (the kernel does), and doesn't decide whether a foreign claim is a
// stranger's or a successor's: it tells facts, see [Heard].
package l2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"daymark/internal/vip"
)

const (
	// DefaultPeriod is that of the slow refresh.
	DefaultPeriod = 3 * time.Second
	// LeastPeriod is the shortest that is obeyed.
	LeastPeriod = 500 * time.Millisecond

	burst      = 32               // frames that may go out back to back
	pause      = time.Millisecond // between bursts
	retry      = time.Second      // until the next attempt to open a port
	defence    = 10 * time.Second // the least between two defences: DEFEND_INTERVAL of RFC 5227
	quiet      = time.Second      // the same news is told once in this time
	rememberAt = 1024             // news remembered for that; a flood of invented stations must not fill the memory
)

// Config is what [New] needs. The zero Config is usable.
type Config struct {
	// Log takes conflicts and links that can't be used; nil discards it.
	Log *slog.Logger
	// Metrics is where the collectors are registered; nil means nowhere.
	Metrics prometheus.Registerer
	// Period is that of the slow refresh: 0 means DefaultPeriod, and less than LeastPeriod that.
	Period time.Duration
	// Heard is told of each foreign frame about an announced address, the same station's at most once a second for each
	// address and kind. It is called from the goroutines that listen, one at a time for a link and family: it must not
	// block, and may call the announcer. nil means nobody.
	Heard func(Heard)
	// Network is where frames go; nil means the kernel's packet sockets.
	Network Network
}

// Heard is a frame in which another station speaks of an address.
type Heard struct {
	vip.Key
	Kind Kind
	MAC  MAC // the other's
	At   time.Time
	// Since is when the address was taken here, or anew after others may have had it; zero while it isn't announced.
	Since time.Time
	// Late means that the other speaks for an address which was probed for a moment ago: it was there first, and its answer
	// came too late for [Announcer.Probe].
	Late bool
}

// Announcer announces a set of addresses. Its methods may be called concurrently.
type Announcer struct {
	log     *slog.Logger
	metrics *metrics
	network Network
	period  time.Duration
	epoch   time.Time // that ticks count from
	heard   func(Heard)
	wake    chan struct{}

	mu        sync.Mutex // guards the rest, and is held while frames are sent
	running   bool
	entries   map[vip.Key]*entry
	queue     queue
	ports     map[portKey]*port
	fresh     []*port // opened, but nobody listens yet
	refused   map[portKey]refusal
	links     map[string]Link
	listeners map[vip.Key][]listener
	told      map[news]time.Time
	doubts    map[vip.Key]time.Time // until when an answer to a probe that found nobody is waited for all the same
	slow      map[vip.Key]time.Time // when such a late answer came
}

type portKey struct {
	link   string
	family Family
}

// port is a Port in use; conn is nil where the link has no neighbours.
type port struct {
	portKey
	conn Port
}

// refusal is why a port couldn't be opened, and until when that is believed: looking for a link is dear.
type refusal struct {
	err   error
	until time.Time
}

// news is what is told once in a while. A late answer is news, although the same station's claim of a moment ago was told: meanwhile
// the address was let go of, and probed for.
type news struct {
	vip.Key
	mac  MAC
	kind Kind
	late bool
}

// New returns an announcer of nothing.
func New(cfg Config) (*Announcer, error) {
	a := &Announcer{
		log:       cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		metrics:   newMetrics(),
		network:   cfg.Network,
		period:    max(cmp.Or(cfg.Period, DefaultPeriod), LeastPeriod),
		epoch:     time.Now(),
		heard:     cfg.Heard,
		wake:      make(chan struct{}, 1),
		entries:   map[vip.Key]*entry{},
		ports:     map[portKey]*port{},
		refused:   map[portKey]refusal{},
		links:     map[string]Link{},
		listeners: map[vip.Key][]listener{},
		told:      map[news]time.Time{},
		doubts:    map[vip.Key]time.Time{},
		slow:      map[vip.Key]time.Time{},
	}
	if a.network == nil {
		a.network = Sockets{}
	}
	if cfg.Metrics != nil {
		if err := a.metrics.register(cfg.Metrics); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return a, nil
}

// Set makes want the whole set of announced addresses. New ones are announced by Run at once, those no longer wanted never
// again once Set has returned. A changed Until is taken over and announces nothing, unless the right had run out meanwhile:
// then others may have had the address, and it is announced as a new one. The error joins one for each link that can't be
// used; its addresses are announced as soon as it can. Addresses on links without neighbours are left out in silence.
func (a *Announcer) Set(ctx context.Context, want []vip.Address) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now() // not before: a right may have been found to have run out meanwhile
	all := want
	if !vip.IsSet(want) {
		all = vip.Union(want)
	}
	news := false
	for _, addr := range all {
		key := addr.Key()
		e, ok := a.entries[key]
		if !ok {
			e = &entry{at: -1}
			a.entries[key] = e
		}
		anew := !ok || !e.addr.Live(now) && addr.Live(now)
		e.addr = addr
		if anew {
			e.begin(now)
			a.queue.put(e)
			news = true
		}
	}
	if len(a.entries) > len(all) {
		a.dropLocked(all)
	}
	a.forgetProbesLocked(now)
	a.metrics.addresses.Set(float64(len(a.entries)))
	if news {
		a.poke()
	}
	return a.arrangePortsLocked()
}

// dropLocked drops what is not in want.
func (a *Announcer) dropLocked(want []vip.Address) {
	wanted := make(map[vip.Key]bool, len(want))
	for _, addr := range want {
		wanted[addr.Key()] = true
	}
	for key, e := range a.entries {
		if !wanted[key] {
			a.queue.remove(e)
			delete(a.entries, key)
		}
	}
}

// arrangePortsLocked opens the ports that are needed and closes the others.
func (a *Announcer) arrangePortsLocked() error {
	needed := map[portKey]bool{}
	var last portKey
	for key := range a.entries {
		if port := (portKey{key.Link, familyOf(key.Addr)}); port != last {
			needed[port], last = true, port
		}
	}
	for key := range a.listeners {
		needed[portKey{key.Link, familyOf(key.Addr)}] = true
	}
	for key := range a.doubts {
		needed[portKey{key.Link, familyOf(key.Addr)}] = true
	}
	var errs []error
	for key := range a.ports {
		if !needed[key] {
			errs = append(errs, a.closePortLocked(key))
		}
	}
	for _, key := range sortedPorts(needed) {
		_, err := a.portLocked(key)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// portLocked returns the port of this key, opened now if need be.
func (a *Announcer) portLocked(key portKey) (*port, error) {
	if p, ok := a.ports[key]; ok {
		return p, nil
	}
	now := time.Now()
	if r, ok := a.refused[key]; ok && now.Before(r.until) {
		return nil, r.err
	}
	conn, err := a.network.Open(key.link, key.family)
	switch {
	case errors.Is(err, ErrNoNeighbours):
		a.log.Debug("nothing to announce on a link without neighbours", "link", key.link, "family", string(key.family))
		conn = nil
	case err != nil:
		err = fmt.Errorf("opening %s for %s: %w", key.link, key.family, err)
		a.refused[key] = refusal{err, now.Add(retry)}
		return nil, err
	}
	p := &port{key, conn}
	a.ports[key] = p
	if conn != nil {
		a.fresh = append(a.fresh, p)
		a.poke()
	}
	return p, nil
}

func (a *Announcer) closePortLocked(key portKey) error {
	p := a.ports[key]
	delete(a.ports, key)
	if p == nil || p.conn == nil {
		return nil
	}
	a.fresh = slices.DeleteFunc(a.fresh, func(f *port) bool { return f == p })
	if err := p.conn.Close(); err != nil {
		return fmt.Errorf("closing %s for %s: %w", key.link, key.family, err)
	}
	return nil
}

// Run announces and listens until ctx ends, then closes every port and returns nil. The set survives, so it may run again. It fails only
// where this process may not follow links.
func (a *Announcer) Run(ctx context.Context) error {
	a.mu.Lock()
	a.running = true
	a.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.followLinks(ctx) })
	group.Go(func() error {
		defer a.stop()
		return a.announce(ctx, func(p *port) { group.Go(func() error { return a.listen(ctx, p) }) })
	})
	return group.Wait()
}

// stop closes every port, which ends those who listen.
func (a *Announcer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = false
	for key := range a.ports {
		if err := a.closePortLocked(key); err != nil {
			a.log.Debug("port not closed", "link", key.link, "err", err)
		}
	}
}

// announce sends what is due, and starts a listener for each new port, until ctx ends.
func (a *Announcer) announce(ctx context.Context, listen func(*port)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		a.mu.Lock()
		for _, p := range a.fresh {
			listen(p)
		}
		a.fresh = nil
		wait := a.sendDueLocked()
		a.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-timer.C:
		}
	}
}

func (a *Announcer) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
