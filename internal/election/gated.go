package election

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Gated is an elector for claims of two kinds: those that only the holder of a lease may have ([Claim] Leased), and those that
// are spread over the members. Both kinds are claims of one [Members], so no two nodes hold the same part, whatever each of
// them takes a claim for: what is said there of why a claim has one holder holds for both kinds and between them.
//
// The lease only opens a gate. A right to a leased claim is this node's as a member, lasts no longer than its right to the
// lease, and passes with it. So the claims of a lease that a foreign elector holds are held by no member.
//
// A claim that becomes a leased one is kept as a member until the lease's holder takes it, a second at most: nobody else takes it
// meanwhile. One that becomes a spread one stays where it is or is passed on.
type Gated struct {
	lease   Elector
	members Elector
	self    string

	mu     sync.Mutex // guards the fields below
	claims []Claim
	set    bool // Set was called
	asked  bool // to yield
	idle   bool // all that is leased yields
	leased map[string]bool
	gate   Right           // to the lease
	open   bool            // there is one
	known  bool            // the lease has spoken
	ends   bool            // Run is about to
	taken  map[string]bool // what was leased when the lease came from another node, which may still answer for it

	applying chan struct{}   // has room for who calls Apply, and uses the fields below
	rights   []Right         // of the members
	spoken   bool            // they have
	gated    map[string]bool // of those, which last no longer than the lease
	applied  []Right         // what Apply was called with last and returned nil
	least    time.Duration   // by which ends must have moved for another call, where nothing else is new
}

// gateClaim is the one claim of the lease.
const gateClaim = "gate"

// NewGated returns an elector that gives what is leased to the holder of lease, and spreads the rest over members. Nobody else
// may set claims of theirs, or run them.
func NewGated(lease *Lease, members *Members) *Gated {
	return &Gated{
		lease: lease, members: members, self: members.cfg.Identity, applying: make(chan struct{}, 1), gated: map[string]bool{},
		least: members.cfg.RetryPeriod / 2,
	}
}

// Set is [Elector] Set.
func (g *Gated) Set(claims []Claim) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.claims, g.set = slices.Clone(claims), true
	g.leased = make(map[string]bool, len(claims))
	var gate []Claim
	glad := false // of any of them
	for _, c := range claims {
		if g.leased[c.Name] = c.Leased; c.Leased {
			gate = []Claim{{Name: gateClaim}}
			glad = glad || !c.Yields
		}
	}
	g.lease.Set(gate)
	g.yieldLocked(g.asked, gate != nil && !glad)
	g.tellLocked()
}

// tellLocked tells the members what this node stands for, once it is known whether it has the lease: until then it is not known
// what of a predecessor's it keeps.
func (g *Gated) tellLocked() {
	if !g.set || !g.known {
		return
	}
	claims := slices.Clone(g.claims)
	for i, c := range claims {
		switch {
		case !c.Leased:
			continue
		case g.open && !g.gate.Passing && !g.ends && c.allows(g.self):
			claims[i].Nodes = []string{g.self}
		default:
			claims[i].Abstains = true
		}
		claims[i].Yields = false // nobody else could take it: the lease yields, or nothing
	}
	g.members.Set(claims)
}

// Heard is [Elector] Heard.
func (g *Gated) Heard(claim string) { g.members.Heard(claim) }

// Yield is [Elector] Yield.
func (g *Gated) Yield() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members.Yield()
	g.yieldLocked(true, g.idle)
}

// Resume is [Elector] Resume.
func (g *Gated) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members.Resume()
	g.yieldLocked(false, g.idle)
}

// yieldLocked yields the lease where that was asked for, or everything that it is for yields.
func (g *Gated) yieldLocked(asked, idle bool) {
	switch was, is := g.asked || g.idle, asked || idle; {
	case is && !was:
		g.lease.Yield()
	case was && !is:
		g.lease.Resume()
	}
	g.asked, g.idle = asked, idle
}

// Run is [Elector] Run.
func (g *Gated) Run(ctx context.Context, apply Apply) error {
	// As a member this node learns first that it does not stand any more for what the lease is passed on for, and then that it ends.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		g.mu.Lock()
		g.ends = true
		g.tellLocked()
		g.mu.Unlock()
		stop()
	})()
	var both errgroup.Group
	both.Go(func() error {
		return g.lease.Run(ctx, func(ctx context.Context, rights []Right) error {
			g.turn(rights)
			return g.apply(ctx, apply, nil)
		})
	})
	both.Go(func() error {
		return g.members.Run(work, func(ctx context.Context, rights []Right) error {
			return g.apply(ctx, apply, &rights)
		})
	})
	return both.Wait()
}

// turn opens or shuts the gate.
func (g *Gated) turn(rights []Right) {
	g.mu.Lock()
	defer g.mu.Unlock()
	open, passing, known := g.open, g.gate.Passing, g.known
	g.open, g.gate, g.known = len(rights) > 0, Right{}, true
	if g.open {
		g.gate = rights[0]
	}
	if g.open && !open && g.gate.Failover {
		g.taken = maps.Clone(g.leased)
	} else if !g.open {
		g.taken = nil
	}
	if g.open != open || g.gate.Passing != passing || !known {
		g.tellLocked()
	}
}

// apply applies what the members' rights are worth now; rights are new ones, nil for none.
func (g *Gated) apply(ctx context.Context, apply Apply, rights *[]Right) error {
	select {
	case g.applying <- struct{}{}:
		defer func() { <-g.applying }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if rights != nil {
		g.rights, g.spoken = *rights, true
	}
	g.mu.Lock()
	if !g.spoken || !g.known {
		g.mu.Unlock()
		return nil // nothing is held yet, and what a predecessor left is not to be touched
	}
	worth, passing := g.worthLocked(), g.gate.Passing
	g.mu.Unlock()
	if g.spares(worth) {
		return nil
	}
	g.applied = nil
	if err := apply(ctx, worth); err != nil {
		return err
	}
	g.applied = worth
	if passing && len(worth) == 0 {
		g.lease.Heard(gateClaim)
	}
	return nil
}

// spares reports whether worth is what was applied last, but for ends that moved on by little: both leases of a node are renewed.
func (g *Gated) spares(worth []Right) bool {
	return len(worth) > 0 && slices.EqualFunc(g.applied, worth, func(was, is Right) bool {
		moved := is.Until.Sub(was.Until)
		was.Until = is.Until
		return was == is && moved >= 0 && moved < g.least
	})
}

// worthLocked returns the rights that are both the members' and, where the lease is needed, its holder's.
func (g *Gated) worthLocked() []Right {
	gated := make(map[string]bool, len(g.rights))
	out := make([]Right, 0, len(g.rights))
	for _, r := range g.rights {
		was, held := g.gated[r.Claim]
		leased, wanted := g.leased[r.Claim]
		if !wanted {
			leased = was // under a name that it had before
		}
		// What came here as a spread claim is this node's until another member takes it, or this one has the lease.
		gated[r.Claim] = leased && (was || !held || g.open && !g.gate.Passing)
		if gated[r.Claim] {
			if !g.open {
				continue
			}
			r.Until = earlier(r.Until, g.gate.Until)
			r.Passing = r.Passing || g.gate.Passing
			r.Failover = r.Failover || g.taken[r.Claim] && !r.Contended
		}
		out = append(out, r)
	}
	g.gated = gated
	return out
}
