package equinix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"daymark/internal/vip"
)

// AnnouncerConfig is what an [Announcer] works with. Zero times mean the defaults.
type AnnouncerConfig struct {
	// Connect returns the API and the device that this process runs on. It is called until it succeeds, and not again.
	Connect func(ctx context.Context) (AssignAPI, string, error)
	// Assigned is told when an address came to this device, or with an error that it didn't; each once until that changes. May be nil.
	Assigned func(addr netip.Addr, err error)
	Reread   time.Duration // between two looks whether what is held is still assigned here, default 30 s
	Log      *slog.Logger
}

// Announcer leads traffic for addresses to one device by assigning them to it at the API, taking them from other devices. It is an announcer of
// the agent, which lets it want an address only while this node has the right to it, and it tests that right again before each call that changes anything.
//
// An address that isn't wanted any more stays assigned: the next holder takes it, and until then it is somewhere. So there is nothing to withdraw.
type Announcer struct {
	cfg  AnnouncerConfig
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	want   []vip.Address
	states map[netip.Addr]Assigning

	// The fields below belong to the goroutine of Run.
	api    AssignAPI
	device string
	pause  time.Duration
}

// Assigning is how far a wanted address has come, for people.
type Assigning struct {
	Addr    netip.Addr `json:"address"`
	Here    bool       `json:"assigned"`
	Problem string     `json:"problem,omitempty"`
}

// Bounds of the pause between attempts that fail.
const (
	leastPause = 500 * time.Millisecond
	mostPause  = 10 * time.Second
)

// NewAnnouncer returns an announcer that does nothing before Run.
func NewAnnouncer(cfg AnnouncerConfig) *Announcer {
	cfg.Reread = cmp.Or(cfg.Reread, 30*time.Second)
	return &Announcer{cfg: cfg, wake: make(chan struct{}, 1), states: map[netip.Addr]Assigning{}}
}

// Set remembers the set and returns at once; Run makes it true. It is safe for concurrent use.
func (a *Announcer) Set(_ context.Context, want []vip.Address) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	same := slices.EqualFunc(a.want, want, func(x, y vip.Address) bool { return x.Key() == y.Key() })
	a.want = slices.Clone(want)
	if same {
		return nil
	}
	for addr := range a.states {
		if !slices.ContainsFunc(want, func(w vip.Address) bool { return w.Prefix.Addr() == addr }) {
			delete(a.states, addr)
		}
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return nil
}

// View returns what became of every wanted address, sorted.
func (a *Announcer) View() []Assigning {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Assigning, 0, len(a.states))
	for _, s := range a.states {
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Assigning) int { return x.Addr.Compare(y.Addr) })
	return out
}

// Run assigns until ctx ends. It is called once.
func (a *Announcer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-timer.C:
		}
		timer.Reset(a.round(ctx))
	}
}

// round makes what is wanted true and returns when to look again.
func (a *Announcer) round(ctx context.Context) time.Duration {
	if a.api == nil {
		api, device, err := a.cfg.Connect(ctx)
		if err != nil {
			a.note(a.live(), err)
			return a.later()
		}
		a.api, a.device = api, device
		a.cfg.Log.Info("device found", "device", device)
	}
	live := a.live()
	if len(live) == 0 {
		a.pause = 0
		return a.cfg.Reread
	}
	all, err := a.api.Reservations(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.note(live, err)
		}
		return a.later()
	}
	var failed error
	for _, addr := range live {
		err := a.bring(ctx, addr, all)
		if ctx.Err() != nil {
			return 0
		}
		a.note([]netip.Addr{addr}, err)
		failed = cmp.Or(failed, err)
	}
	if failed != nil {
		return a.later()
	}
	a.pause = 0
	return a.cfg.Reread
}

func (a *Announcer) later() time.Duration {
	a.pause = min(max(2*a.pause, leastPause), mostPause)
	return a.pause
}

// live returns the wanted addresses whose right has not run out.
func (a *Announcer) live() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []netip.Addr
	for _, w := range a.want {
		if w.Live(time.Now()) {
			out = append(out, w.Prefix.Addr())
		}
	}
	return out
}

// errLost is when the right to an address ran out in the middle of taking it.
var errLost = errors.New("the right to the address ended")

// bring assigns addr to this device, taking it from others.
func (a *Announcer) bring(ctx context.Context, addr netip.Addr, all []Reservation) error {
	i := slices.IndexFunc(all, func(r Reservation) bool { return r.Prefix.Contains(addr) })
	if i < 0 {
		return fmt.Errorf("the project has no reservation for %s", addr)
	}
	here := false
	for _, have := range all[i].Assignments {
		switch {
		case have.Addr != addr:
		case have.Device == a.device:
			here = true
		default:
			if !slices.Contains(a.live(), addr) {
				return errLost
			}
			a.cfg.Log.Info("taking the address from another device", "addr", addr, "device", have.Device)
			if err := a.api.Unassign(ctx, have.ID); err != nil {
				return err
			}
		}
	}
	if here {
		return nil
	}
	if !slices.Contains(a.live(), addr) {
		return errLost
	}
	_, err := a.api.Assign(ctx, a.device, addr)
	return err
}

// note remembers what became of addresses and tells what is new.
func (a *Announcer) note(addrs []netip.Addr, err error) {
	for _, addr := range addrs {
		next := Assigning{Addr: addr, Here: err == nil}
		if err != nil {
			next.Problem = err.Error()
		}
		a.mu.Lock()
		changed := a.states[addr] != next
		a.states[addr] = next
		a.mu.Unlock()
		switch {
		case !changed || errors.Is(err, errLost):
			continue
		case err == nil:
			a.cfg.Log.Info("assigned", "addr", addr, "device", a.device)
		default:
			a.cfg.Log.Warn("not assigned", "addr", addr, "device", a.device, "err", err)
		}
		if a.cfg.Assigned != nil {
			a.cfg.Assigned(addr, err)
		}
	}
}

// OwnDevice finds this machine among the project's devices: by an address of the device's own that is on a link here, else by its host name. here are
// the addresses on this machine's links.
func OwnDevice(all []Device, hostname string, here []netip.Addr) (Device, error) {
	byAddr := slices.DeleteFunc(slices.Clone(all), func(d Device) bool {
		return !slices.ContainsFunc(d.Addresses, func(a DeviceAddress) bool { return a.Managed && slices.Contains(here, a.Addr) })
	})
	if len(byAddr) == 1 {
		return byAddr[0], nil
	}
	byName := slices.DeleteFunc(slices.Clone(all), func(d Device) bool { return d.Hostname != hostname })
	if len(byName) == 1 {
		return byName[0], nil
	}
	return Device{}, fmt.Errorf("%w: among %d devices of the project %d have an address of this machine and %d are called %q", ErrNotFound, len(all), len(byAddr), len(byName), hostname)
}
