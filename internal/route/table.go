// Package route tells routers where addresses are by routes in a table of the kernel that nothing on the node looks up: a
// routing daemon beside us, such as BIRD or FRR, reads that table and announces what it finds.
//
// Routes are marked as ours by their protocol. Several agents on a node may share table and protocol, so a route that this
// one neither made nor was asked for is left alone, save by [Table.Sweep].
//
// It puts no addresses on links. The kernel gives routes no lifetime, so unlike addresses they are not fenced: the end of a
// right is kept by [Table.Run], and by nobody while the process is frozen.
package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"daymark/internal/vip"
)

// What routes are where [Config] doesn't say otherwise.
const (
	DefaultTable    = 198
	DefaultProtocol = 248
	DefaultType     = unix.RTN_UNICAST
)

// Config is what [Open] needs. The zero Config is usable.
type Config struct {
	// Log takes what was announced, withdrawn and put back; nil discards it.
	Log *slog.Logger
	// Metrics is where the collectors are registered; nil means nowhere.
	Metrics prometheus.Registerer
	// Table is the routing table; 0 means DefaultTable.
	Table int
	// Protocol marks routes as ours; 0 means DefaultProtocol.
	Protocol int
	// Type is that of the routes (rtnetlink(7), RTN_*); 0 means DefaultType. Blackhole, unreachable and prohibit have no link.
	Type int
	// Clean makes [Table.Sweep] remove what an earlier run left.
	Clean bool
}

// Table is our routes. Its methods may be called concurrently.
type Table struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	mu     sync.Mutex // guards the rest
	have   map[key]bool
	stale  map[key]bool // ours by protocol, there when we opened, and not wanted since
	want   []vip.Address
	swept  bool
	expiry *time.Timer // of the first right that ends; Run waits for it
}

// key is what makes two routes the same one. Link is empty for routes without.
type key struct {
	prefix netip.Prefix
	link   string
}

func (k key) String() string {
	if k.link == "" {
		return k.prefix.String()
	}
	return k.prefix.String() + " by " + k.link
}

// Open reads what is there and changes nothing.
func Open(cfg Config) (*Table, error) {
	cfg.Table = cmp.Or(cfg.Table, DefaultTable)
	cfg.Protocol = cmp.Or(cfg.Protocol, DefaultProtocol)
	cfg.Type = cmp.Or(cfg.Type, DefaultType)
	t := &Table{
		cfg:     cfg,
		log:     cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		metrics: newMetrics(),
		expiry:  time.NewTimer(time.Hour),
	}
	if cfg.Metrics != nil {
		if err := t.metrics.register(cfg.Metrics); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	if err := t.loadLocked(); err != nil {
		return nil, err
	}
	t.stale = maps.Clone(t.have)
	return t, nil
}

// Set makes want the whole set of announced addresses: missing routes are added first, then those no longer wanted removed.
// Addresses whose right has run out are left out. The error joins one for each route that can't be had; the others are set.
func (t *Table) Set(ctx context.Context, want []vip.Address) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = vip.Union(want)
	return t.settleLocked()
}

// Sweep removes what an earlier run left and nobody wants, if [Config.Clean] says so. It is to be called once everything that
// this node should announce has been through Set.
func (t *Table) Sweep(ctx context.Context) error {
	if err := ctx.Err(); err != nil || !t.cfg.Clean {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.swept = true
	return t.settleLocked()
}

// Run keeps what Set asked for true, whatever others do to it, and withdraws what the right to has run out, until ctx ends;
// then it returns nil. The routes stay: withdraw them by Set.
func (t *Table) Run(ctx context.Context) error {
	news := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return watch(ctx, t.cfg.Table, func() {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	})
	group.Go(func() error {
		t.keep(ctx, news)
		return nil
	})
	return group.Wait()
}

const (
	gather    = 50 * time.Millisecond // how long news are gathered before the table is read
	againMost = 5 * time.Second       // until the next attempt, which comes after gather at first, and each time after twice as long
)

// keep repairs after news, and when a right ends, until ctx ends. What fails is tried again, since a shortage that passes makes no news;
// it is told once, until something else fails.
func (t *Table) keep(ctx context.Context, news <-chan struct{}) {
	soon := time.NewTimer(0) // what happened before we watched
	defer soon.Stop()
	told, again := "", gather
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-news:
			soon.Reset(gather)
			continue
		case <-soon.C:
			err = t.repair(true)
		case <-t.expiry.C:
			err = t.repair(false)
		}
		if err == nil {
			told, again = "", gather
			continue
		}
		if err.Error() != told {
			told = err.Error()
			t.log.Warn("routes not restored", "err", err)
		}
		soon.Reset(again)
		again = min(2*again, againMost)
	}
}

func (t *Table) repair(reload bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if reload {
		if err := t.loadLocked(); err != nil {
			return err
		}
	}
	return t.settleLocked()
}

// settleLocked changes the kernel to what is wanted, and sets the timer for the next right to end.
func (t *Table) settleLocked() error {
	now, wanted := time.Now(), map[key]bool{}
	next := now.Add(time.Hour)
	for _, a := range t.want {
		if !a.Live(now) {
			continue
		}
		wanted[t.keyOf(a)] = true
		if !a.Until.IsZero() && a.Until.Before(next) {
			next = a.Until
		}
	}
	t.expiry.Reset(next.Sub(now))
	var errs []error
	for _, k := range sorted(wanted) {
		delete(t.stale, k)
		if t.have[k] {
			continue
		}
		if err := t.add(k); err != nil {
			errs = append(errs, fmt.Errorf("adding route %s: %w", k, err))
			continue
		}
		t.have[k] = true
		t.log.Info("announced by route", "addr", k.prefix, "link", k.link)
	}
	for _, k := range sorted(t.have) {
		if wanted[k] || t.stale[k] && !t.swept {
			continue
		}
		if err := t.remove(k); err != nil {
			errs = append(errs, fmt.Errorf("removing route %s: %w", k, err))
			continue
		}
		delete(t.have, k)
		delete(t.stale, k)
		t.log.Info("route withdrawn", "addr", k.prefix, "link", k.link)
	}
	t.metrics.routes.Set(float64(len(t.have) - len(t.stale)))
	t.metrics.errors.Add(float64(len(errs)))
	return errors.Join(errs...)
}

// keyOf is the route of an address: several in one subnet share one.
func (t *Table) keyOf(a vip.Address) key {
	k := key{a.Prefix.Masked(), a.Link}
	switch t.cfg.Type {
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		k.link = ""
	}
	return k
}

func sorted(set map[key]bool) []key {
	return slices.SortedFunc(maps.Keys(set), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.link, b.link), a.prefix.Compare(b.prefix))
	})
}

func (t *Table) add(k key) error {
	r, err := t.route(k)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(r)
}

func (t *Table) remove(k key) error {
	r, err := t.route(k)
	if err == nil {
		r.Scope = unix.RT_SCOPE_NOWHERE // whatever it has: others' routes to a link aren't in the universe's as ours are
		err = netlink.RouteDel(r)
	}
	var missing netlink.LinkNotFoundError
	if errors.Is(err, unix.ESRCH) || errors.As(err, &missing) {
		return nil // it went with its link, or somebody was quicker
	}
	return err
}
