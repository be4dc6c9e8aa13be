// Package datapath puts addresses on links in the kernel, and tells what links and addresses there are.
//
// What it puts there is marked as ours: by a metric made of [Config.Instance], which means nothing else to an address without
// a route (IFA_RT_PRIORITY, kernel 4.18), and for people by the address protocol [Protocol] (5.18; older kernels leave it
// out). So a restart finds what it left, and two agents on a node leave each other's in peace while both live. It is never chosen as
// a source address (preferred lifetime 0), makes no route to a subnet (IFA_F_NOPREFIXROUTE), and is fenced: an address whose right
// ends carries a lifetime that ends no later, so that a frozen or killed agent loses it.
//
// It believes the kernel and nothing else: it reads everything once, at [Open], then follows the kernel's answers and
// notifications. What somebody takes away is put back, also what the kernel drops when a link goes down.
//
// It doesn't decide which addresses a node should have, announces nothing, and never changes a sysctl.
package datapath

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"daymark/internal/vip"
)

// Protocol is the address protocol (IFA_PROTO, shown by `ip address` as "proto") of every agent's addresses: the number of our
// route protocol.
const Protocol = 248

// Scope is the scope of IPv4 addresses on the loopback link.
type Scope uint8

// The scopes that an address on the loopback link can have: host is not to be told to others, global is.
const (
	ScopeHost   Scope = unix.RT_SCOPE_HOST
	ScopeGlobal Scope = unix.RT_SCOPE_UNIVERSE
)

// Config is what [Open] needs. The zero Config is usable, with global scope on the loopback link.
type Config struct {
	// Log takes what was held, released, put back and adopted; nil discards it.
	Log *slog.Logger
	// Metrics is where the collectors are registered; nil means nowhere.
	Metrics prometheus.Registerer
	// LoopbackScope is the scope of addresses on the loopback link.
	LoopbackScope Scope
	// Instance tells this agent's addresses from those of another agent on the same node, such as one for the control plane
	// and one for Services. It must be the same after a restart.
	Instance string
	// Adopt decides whether an address that was there when we opened, with no program's mark, was left by one that held VIPs
	// before us. Such a one becomes ours when it is wanted with that prefix length, or is of full length, instead of being
	// refused with [ErrForeign]. nil means what such programs leave and nodes rarely call their own: permanent addresses of
	// full length, and permanent secondary IPv4 addresses. What another agent of ours left, from before the agents' tasks
	// were divided otherwise, is adopted without asking once that agent lives no more.
	Adopt func(found vip.Address) bool
}

// Kernel is the addresses and links of this network namespace. Its methods may be called concurrently.
type Kernel struct {
	log     *slog.Logger
	metrics *metrics
	notes   *notifications
	routes  func() ([]Default, error) // Defaults
	seat    io.Closer                 // nil where it can't be had

	mu       sync.Mutex // guards the rest
	requests *requests
	state    *state
	dirty    bool                  // something came that a plan must look at
	lost     bool                  // what is true is not what state says, and must be read anew
	repairs  map[vip.Key]time.Time // when an address was last put back
	watchers map[chan struct{}]struct{}
}

// Open reads what is there and changes nothing. What is ours stays until it is wanted and then no longer wanted, until its
// lifetime ends, or until [Kernel.Sweep].
func Open(cfg Config) (*Kernel, error) {
	k := &Kernel{
		log:      cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		repairs:  map[vip.Key]time.Time{},
		watchers: map[chan struct{}]struct{}{},
		routes:   Defaults,
		state: &state{
			metric:        metricOf(cfg.Instance),
			loopbackScope: uint8(cfg.LoopbackScope),
			adopt:         cfg.Adopt,
			promotes:      promotesSecondaries,
			written:       map[slot]write{},
			want:          map[vip.Key]netip.Prefix{},
			agents:        map[uint32]bool{},
		},
	}
	k.metrics = newMetrics(k.count)
	var err error
	if k.seat, err = takeSeat(k.state.metric); err != nil {
		k.log.Warn("another agent on this node may take over what is held", "err", err)
	}
	if k.requests, err = openRequests(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	// Listen before reading, so that nothing happens unseen in between.
	if k.notes, err = openNotifications(k.requests.port); err == nil {
		err = k.loadLocked(true)
	}
	if err == nil && cfg.Metrics != nil {
		err = k.metrics.register(cfg.Metrics)
	}
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Close gives the sockets back and leaves every address as it is.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	if k.notes != nil {
		err = k.notes.file.Close()
	}
	if k.requests != nil {
		err = errors.Join(err, unix.Close(k.requests.fd))
		k.requests = nil
	}
	if k.seat != nil {
		err = errors.Join(err, k.seat.Close())
	}
	return err
}

// Set makes want the whole set of our addresses: missing ones are added, others brought in line in place, and only then
// those no longer wanted removed. Where some can't be had the error joins a [vip.AddressError] for each, wrapping [ErrForeign],
// [ErrNoLink], [ErrLinkDown], [ErrExpired] or the kernel's; the others are set all the same. Setting what is already there costs no
// system call but the one that looks for news.
func (k *Kernel) Set(ctx context.Context, want []vip.Address) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.drainLocked(); err != nil {
		return err
	}
	k.state.setWant(want)
	return k.settleLocked(nil)
}

// Adopted returns, in order, what is ours, was there when we opened, and hasn't been wanted since. Until is zero.
func (k *Kernel) Adopted() []vip.Address {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.held(func(e entry) bool { return e.unwanted })
}

// Held returns, in order, what is ours in the kernel as it last told, adopted or wanted.
func (k *Kernel) Held() []vip.Address {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.held(func(entry) bool { return true })
}

// Sweep ends the time of grace for what an earlier run left: permanent addresses that nobody wants are removed, now and from
// now on. It is to be called once everything that this node should hold has been through [Kernel.Set]. Addresses with a
// lifetime are left to it: it ends with the lease they were held under, and until then this node may win that back.
func (k *Kernel) Sweep(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.swept = true
	if err := k.drainLocked(); err != nil {
		return err
	}
	return k.settleLocked(nil)
}

// Run keeps what Set asked for true, whatever others do to it, until ctx ends; then it returns nil. What is taken away is put
// back at once, and if it is taken again, once a second.
func (k *Kernel) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = k.notes.file.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		retry, err := k.repair()
		if err != nil {
			return err
		}
		var deadline time.Time
		if retry > 0 {
			deadline = time.Now().Add(retry)
		}
		// The deadline that AfterFunc sets when ctx ends must not be overwritten by a later one.
		if err := k.notes.file.SetReadDeadline(deadline); err != nil {
			return fmt.Errorf("waiting for notifications: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := k.notes.await(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("waiting for notifications: %w", err)
		}
	}
}

// repair takes in the news and puts right what they put wrong. It returns after how long to try again, 0 meaning at the next
// notification.
func (k *Kernel) repair() (time.Duration, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch err := k.drainLocked(); {
	case err != nil && k.lost:
		k.log.Warn("reading links and addresses failed", "err", err)
		return time.Second, nil
	case err != nil:
		return 0, err
	}
	now, retry := time.Now(), time.Duration(0)
	due := func(key vip.Key) bool {
		wait := k.repairs[key].Add(time.Second).Sub(now)
		if wait <= 0 {
			k.repairs[key] = now
			return true
		}
		if retry == 0 || wait < retry {
			retry = wait
		}
		return false
	}
	if !k.dirty {
		return 0, nil
	}
	if err := k.settleLocked(due); err != nil {
		k.log.Warn("addresses not restored", "err", err)
		retry = time.Second
	}
	if k.dirty && retry == 0 {
		retry = time.Second // it was left in the middle
	}
	k.dirty = retry > 0
	for key, at := range k.repairs {
		if now.Sub(at) > time.Minute {
			delete(k.repairs, key)
		}
	}
	return retry, nil
}
