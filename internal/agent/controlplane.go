package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// controlPlaneClaim is the one claim of the control plane.
const controlPlaneClaim = "control-plane"

// Resolver tells addresses, now and whenever they change, until ctx ends.
type Resolver interface {
	Watch(ctx context.Context, changed func([]netip.Addr)) error
}

// ControlPlaneConfig is what [ControlPlane] works with.
type ControlPlaneConfig struct {
	Resolver Resolver
	// Place returns where an address of the control plane is put.
	Place   func(netip.Addr) vip.Address
	Elector Elector
	Holder  *Holder
	// Preserve keeps the addresses on the link, quietly, after the right to them was lost, until another host is heard to use
	// them.
	Preserve bool
	// StayAtStop leaves the addresses as they are when Run ends; see [ServicesConfig.StayAtStop].
	StayAtStop bool
	Labels     *Labels // may be nil
	// Tell tells users, on this node's Node, of trouble with the addresses; it returns soon. May be nil.
	Tell    func(Event)
	Metrics *Metrics // may be nil
	Logger  *slog.Logger
}

// ControlPlane holds the control plane's addresses. It needs no informer and no other node: it works while `kubeadm init`
// waits for the address.
type ControlPlane struct {
	cfg ControlPlaneConfig

	mu        sync.Mutex // guards the fields below
	addresses []vip.Address
	right     election.Right
	held      bool                // right is one
	kept      bool                // the right was lost and the addresses are preserved
	cut       bool                // the link carries no traffic: nothing is preserved
	spoken    bool                // Apply was called
	passed    map[vip.Key]bool    // addresses whose successor was heard
	here      map[netip.Addr]bool // addresses that are held
	told      map[netip.Addr]told // the trouble that was told last
	foreign   map[netip.Addr]bool // addresses that a stranger has, as far as this node was to take them
	disputes  disputes
}

// NewControlPlane returns a ControlPlane that does nothing before Run.
func NewControlPlane(cfg ControlPlaneConfig) *ControlPlane {
	return &ControlPlane{
		cfg: cfg, passed: make(map[vip.Key]bool), here: make(map[netip.Addr]bool), told: make(map[netip.Addr]told), foreign: make(map[netip.Addr]bool),
		disputes: make(disputes),
	}
}

// Run serves until ctx ends, then hands the addresses over or gives them back.
func (c *ControlPlane) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.cfg.Resolver.Watch(ctx, c.resolved) })
	g.Go(func() error {
		return c.cfg.Elector.Run(ctx, func(work context.Context, rights []election.Right) error {
			return c.apply(work, rights, ctx.Err() != nil)
		})
	})
	err := g.Wait()
	return errors.Join(err, c.release(ctx))
}

// release removes what is kept without a right, of which the elector knows nothing. It has two seconds.
func (c *ControlPlane) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	c.mu.Lock()
	if !c.kept {
		c.mu.Unlock()
		return nil
	}
	c.unkeepLocked("the agent stops")
	version := c.cfg.Holder.Set(SourceControlPlane, nil)
	c.mu.Unlock()
	return c.cfg.Holder.Await(ctx, version)
}

// resolved takes in the addresses. A node stands for the control plane once it knows one.
func (c *ControlPlane) resolved(addrs []netip.Addr) {
	var placed []vip.Address
	for _, a := range addrs {
		placed = append(placed, c.cfg.Place(a))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addresses = vip.Union(placed)
	c.cfg.Logger.Info("control-plane addresses", "addrs", texts(c.addresses))
	maps.DeleteFunc(c.foreign, func(addr netip.Addr, _ bool) bool { return !c.isLocked(addr) })
	c.standLocked()
	if c.spoken {
		c.cfg.Holder.Set(SourceControlPlane, c.wantsLocked())
	}
}

// standLocked tells the elector what this node stands for.
func (c *ControlPlane) standLocked() {
	if len(c.addresses) == 0 {
		c.cfg.Elector.Set(nil)
		return
	}
	c.cfg.Elector.Set([]election.Claim{{Name: controlPlaneClaim, Foreign: len(c.foreign) > 0}})
}

func (c *ControlPlane) apply(ctx context.Context, rights []election.Right, stopping bool) error {
	if stopping && c.cfg.StayAtStop {
		return nil
	}
	c.mu.Lock()
	keep := c.kept || c.held && !c.right.Passing // what was passed on is the successor's
	i := slices.IndexFunc(rights, func(r election.Right) bool { return r.Claim == controlPlaneClaim })
	if c.held = i >= 0; c.held {
		if c.right = rights[i]; !c.right.Passing {
			clear(c.passed) // of a time before
		}
	}
	c.kept = c.cfg.Preserve && !stopping && !c.held && !c.cut && keep
	c.spoken = true
	version := c.cfg.Holder.Set(SourceControlPlane, c.wantsLocked())
	c.mu.Unlock()
	return c.cfg.Holder.Await(ctx, version)
}

func (c *ControlPlane) wantsLocked() []Want {
	if !c.held && !c.kept {
		return nil
	}
	out := make([]Want, 0, len(c.addresses))
	for _, a := range c.addresses {
		w := Want{Address: a, Quiet: true, Kept: true, Sure: true}
		if c.held {
			w.Kept, w.Until, w.Quiet, w.Passing = false, c.right.Until, c.right.Passing, c.right.Passing
			w.Sure, w.Contended = c.right.Failover, c.right.Contended
		}
		out = append(out, w)
	}
	return out
}

// Changed takes in what became of addresses; it is called by the holder's [HolderConfig.Changed].
func (c *ControlPlane) Changed(states []State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	foreign := len(c.foreign) > 0
	for _, s := range states {
		addr := s.Address.Prefix.Addr()
		delete(c.here, addr) // also what is no address of the control plane any more
		if !slices.ContainsFunc(c.addresses, func(a vip.Address) bool { return a.Key() == s.Address.Key() }) {
			continue
		}
		if s.Phase == Conflict {
			c.foreign[addr] = true
		} else {
			delete(c.foreign, addr)
		}
		switch s.Phase {
		case Conflict, Failed:
			c.tellLocked(addr, fmt.Sprintf("%s: %s", addr, s.Problem))
		case Held:
			c.here[addr] = true
		}
	}
	if foreign != (len(c.foreign) > 0) {
		c.standLocked()
	}
	if c.cfg.Labels != nil {
		c.cfg.Labels.SetControlPlane(slices.Collect(maps.Keys(c.here)))
	}
}

// Passed takes in that the successor of an address was heard. Once that is so for all of them, they are let go; those kept
// without a right at once.
func (c *ControlPlane) Passed(a vip.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept && slices.ContainsFunc(c.addresses, func(b vip.Address) bool { return a.Key() == b.Key() }) {
		c.unkeepLocked("another host uses it")
		return
	}
	if !c.held || !c.right.Passing {
		return
	}
	c.passed[a.Key()] = true
	if !slices.ContainsFunc(c.addresses, func(b vip.Address) bool { return !c.passed[b.Key()] }) {
		clear(c.passed)
		c.cfg.Elector.Heard(controlPlaneClaim)
	}
}

// SetCarrier says whether the link can carry traffic. Without it nothing is preserved: a successor would not be heard.
func (c *ControlPlane) SetCarrier(there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = !there
	if c.cut && c.kept {
		c.unkeepLocked("the link is down")
	}
}

func (c *ControlPlane) unkeepLocked(why string) {
	c.kept = false
	c.cfg.Logger.Info("preserved no longer", "addrs", texts(c.addresses), "reason", why)
	c.cfg.Holder.Set(SourceControlPlane, c.wantsLocked())
}

// Addresses returns the control plane's addresses as they are known now.
func (c *ControlPlane) Addresses() []vip.Address {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.addresses)
}

func texts(addrs []vip.Address) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
