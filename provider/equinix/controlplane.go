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

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

// ControlPlaneController is the name for --controllers.
const ControlPlaneController = "cloud-provider-equinix-metal"

// AssignAPI is the calls that move an address from device to device; see [API].
type AssignAPI interface {
	Reservations(ctx context.Context) ([]Reservation, error)
	Assign(ctx context.Context, device string, addr netip.Addr) (Assignment, error)
	Unassign(ctx context.Context, assignment string) error
}

// ControlPlaneConfig is what [ControlPlane] works with. Zero numbers mean the defaults.
type ControlPlaneConfig struct {
	API AssignAPI
	// Tag is that of the reservation; exactly one of the project's must have it.
	Tag string
	// Nodes returns the control-plane Nodes as they are known now.
	Nodes func() ([]*corev1.Node, error)
	// Check asks an API server whether it is ready; nil is yes. It ends with ctx.
	Check func(ctx context.Context, server netip.AddrPort) error
	// Port is where the API servers listen; default 6443.
	Port uint16
	// Through means that the address itself is asked too: when that fails, the API is read at once instead of after Reread.
	Through bool
	// May is asked before every write: false ends the attempt. Nil means always.
	May func() bool

	Period    time.Duration // between two questions to each API server, default 2 s
	Timeout   time.Duration // of a question, default 2 s
	Failures  int           // so many in a row mean that an API server is down, default 3
	Successes int           // so many in a row mean that it is well, default 2
	Reread    time.Duration // between two reads of the reservation while all is well, default 30 s

	Events  record.EventRecorder
	Metrics *ControlPlaneMetrics // may be nil
	Log     *slog.Logger
}

// ControlPlane keeps the control plane's elastic address at a node whose API server is well. It asks each API server at its node's own
// address. The address leaves a node only when that node's API server failed several times in a row, and goes to the one that has been well for
// the longest time: a server that comes and goes never wins against one that stays, so the address doesn't go back and forth. When none is
// well it stays where it is.
//
// The API knows no step that moves an address: it is taken from one device and given to another. Nothing is remembered between the two: every attempt begins
// by reading where the address is, so whoever runs next, after a crash at any point, completes the move.
type ControlPlane struct {
	cfg ControlPlaneConfig

	// The fields below belong to the goroutine of Run.
	all     map[string]*candidate // by device; also devices that have the address and are no Node's
	address netip.Addr            // zero until it was read
	holders []Assignment
	fresh   bool // address and holders are what the API said, and nothing was written since
	readAt  time.Time
	lost    int // questions through the address that failed in a row
	retryAt time.Time
	pause   time.Duration
	told    string // the problem that was told last
}

// maxPause bounds the time between two attempts after errors of the API.
const maxPause = 30 * time.Second

// NewControlPlane returns a ControlPlane that does nothing before Run.
func NewControlPlane(cfg ControlPlaneConfig) *ControlPlane {
	cfg.Port = cmp.Or(cfg.Port, 6443)
	cfg.Period, cfg.Timeout = cmp.Or(cfg.Period, 2*time.Second), cmp.Or(cfg.Timeout, 2*time.Second)
	cfg.Failures, cfg.Successes = cmp.Or(cfg.Failures, 3), cmp.Or(cfg.Successes, 2)
	cfg.Reread = cmp.Or(cfg.Reread, 30*time.Second)
	return &ControlPlane{cfg: cfg, all: map[string]*candidate{}}
}

// Run keeps the address until ctx ends. It is called once.
func (c *ControlPlane) Run(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Period)
	defer tick.Stop()
	for {
		c.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round asks every API server, and the vendor's API where there is a reason to.
func (c *ControlPlane) round(ctx context.Context) {
	nodes, err := c.cfg.Nodes()
	if err != nil {
		c.tell("NodesUnknown", fmt.Errorf("listing the control-plane nodes: %w", err))
		return
	}
	c.ask(ctx, nodes)
	c.cfg.Metrics.seen(c.all, c.holders, c.cfg.Successes)
	if ctx.Err() != nil || !c.due(time.Now()) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, maxPause)
	defer cancel()
	err = c.settle(limited)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		c.told, c.pause = "", 0
	case errors.Is(err, errNoneWell): // it moves in the round in which one is
		c.tell(reasonOf(err), err)
	default:
		c.cfg.Metrics.failed()
		c.fresh = false
		c.pause = min(max(2*c.pause, c.cfg.Period), maxPause)
		c.retryAt = time.Now().Add(c.pause)
		c.tell(reasonOf(err), err)
	}
}

// ask asks every API server at once, and notes what each said.
func (c *ControlPlane) ask(ctx context.Context, nodes []*corev1.Node) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var asking sync.WaitGroup
	known := map[string]bool{}
	for _, node := range nodes {
		device, addr, ok := serverOf(node, c.address)
		if !ok || known[device] {
			continue
		}
		known[device] = true
		have := c.all[device]
		if have == nil || have.node != node.Name {
			have = &candidate{device: device, node: node.Name}
			c.all[device] = have
		}
		asking.Go(func() { have.note(c.cfg.Check(ctx, netip.AddrPortFrom(addr, c.cfg.Port)), time.Now()) })
	}
	if c.cfg.Through && c.address.IsValid() {
		asking.Go(func() {
			if c.lost++; c.cfg.Check(ctx, netip.AddrPortFrom(c.address, c.cfg.Port)) == nil {
				c.lost = 0
			}
		})
	}
	asking.Wait()
	c.strangers(known)
}

// strangers lets a device that has the address and is no control-plane Node's count as failing, and forgets the others.
func (c *ControlPlane) strangers(known map[string]bool) {
	for device, have := range c.all {
		if !known[device] && have.node != "" {
			delete(c.all, device)
		}
	}
	for device := range c.all {
		if !known[device] && !c.holds(device) {
			delete(c.all, device)
		}
	}
	for _, h := range c.holders {
		if known[h.Device] {
			continue
		}
		if c.all[h.Device] == nil {
			c.all[h.Device] = &candidate{device: h.Device}
		}
		c.all[h.Device].note(errStranger, time.Now())
	}
}

func (c *ControlPlane) holds(device string) bool {
	return slices.ContainsFunc(c.holders, func(a Assignment) bool { return a.Device == device })
}

// due reports whether the vendor's API is to be asked now.
func (c *ControlPlane) due(now time.Time) bool {
	switch {
	case now.Before(c.retryAt):
		return false
	case !c.fresh, now.Sub(c.readAt) >= c.cfg.Reread, c.lost == c.cfg.Failures:
		return true
	}
	return !c.plan().empty()
}

// settle reads where the address is and moves it if need be.
func (c *ControlPlane) settle(ctx context.Context) error {
	if err := c.read(ctx); err != nil {
		return err
	}
	p := c.plan()
	if p.stuck {
		return fmt.Errorf("%w; the address stays where it is", errNoneWell)
	}
	if p.empty() {
		return nil
	}
	c.fresh = false // whatever comes of it, the next round reads again
	for _, a := range p.unassign {
		if c.cfg.May != nil && !c.cfg.May() {
			return nil
		}
		if err := c.cfg.API.Unassign(ctx, a.ID); err != nil {
			return err
		}
	}
	return c.assign(ctx, p)
}

// assign gives the address to the first of the targets whose device takes it.
func (c *ControlPlane) assign(ctx context.Context, p plan) error {
	var refused []error
	for _, target := range p.targets {
		if c.cfg.May != nil && !c.cfg.May() {
			return nil
		}
		_, err := c.cfg.API.Assign(ctx, target.device, c.address)
		switch {
		case err == nil:
			c.moved(p.unassign, target)
			return nil
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrRefused):
			return err // perhaps done, perhaps somebody else was quicker: the next round reads
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

// read reads the reservation.
func (c *ControlPlane) read(ctx context.Context) error {
	all, err := c.cfg.API.Reservations(ctx)
	if err != nil {
		return err
	}
	tagged := slices.DeleteFunc(all, func(r Reservation) bool { return !slices.Contains(r.Tags, c.cfg.Tag) })
	switch {
	case len(tagged) == 0:
		return fmt.Errorf("%w %q", errNoReservation, c.cfg.Tag)
	case len(tagged) > 1:
		return fmt.Errorf("%w %q: %s and %s; remove it from all but one", errManyReservations, c.cfg.Tag, tagged[0].Prefix, tagged[1].Prefix)
	}
	c.address = tagged[0].Prefix.Addr()
	c.holders = nil
	for _, a := range tagged[0].Assignments {
		if a.Addr == c.address {
			c.holders = append(c.holders, a)
		}
	}
	c.fresh, c.readAt = true, time.Now()
	return nil
}

func (c *ControlPlane) plan() plan {
	return planMove(c.holders, c.all, c.cfg.Failures, c.cfg.Successes)
}
