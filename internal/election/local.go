package election

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Always gives every claim to this node, without end and without asking anybody: for BGP, routing table and WireGuard,
// where several nodes may announce an address. Claim.Nodes and
// Abstains are obeyed.
type Always struct {
	node string
	log  *slog.Logger
	wake chan struct{}

	mu     sync.Mutex
	claims []Claim
	known  bool // Set was called
}

// NewAlways returns an elector for the node of that name.
func NewAlways(node string, log *slog.Logger) *Always {
	return &Always{node: node, log: log, wake: make(chan struct{}, 1)}
}

// Set is [Elector] Set.
func (a *Always) Set(claims []Claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.claims, a.known = slices.Clone(claims), true
	signal(a.wake)
}

// Heard does nothing: nothing is ever passed.
func (a *Always) Heard(string) {}

// Yield does nothing: nobody takes over from this node.
func (a *Always) Yield() {}

// Resume does nothing.
func (a *Always) Resume() {}

// Run is [Elector] Run. Its last act is one call of apply with nothing, which has two seconds.
func (a *Always) Run(ctx context.Context, apply Apply) error {
	// Apply's context outlives ctx: what is held must be withdrawn in good order.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	ap := newApplier(apply, a.log)
	var wg sync.WaitGroup
	wg.Go(func() { ap.run(work) })
	defer wg.Wait()
	defer stop()
	for {
		if rights, known := a.rights(); known {
			ap.set(rights)
		}
		select {
		case <-a.wake:
			continue
		case <-ctx.Done():
		}
		settle(ap, ap.set(nil), 2*time.Second)
		return nil
	}
}

// settle waits until generation is applied, at most d.
func settle(ap *applier, generation uint64, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for !ap.has(generation) {
		select {
		case <-ap.applied:
		case <-t.C:
			return
		}
	}
}

func (a *Always) rights() (rights []Right, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.claims {
		if c.stands(a.node) {
			rights = append(rights, Right{Claim: c.Name})
		}
	}
	slices.SortFunc(rights, func(a, b Right) int { return cmp.Compare(a.Claim, b.Claim) })
	return rights, a.known
}

// Healthy lets another elector stand for claims only while what they lead to is healthy. It starts healthy.
type Healthy struct {
	Elector

	mu     sync.Mutex
	claims []Claim
	known  bool
	sick   bool
}

// NewHealthy wraps inner, which must not be told claims by anyone else from now on.
func NewHealthy(inner Elector) *Healthy { return &Healthy{Elector: inner} }

// Set is [Elector] Set. While unhealthy the claims are only remembered.
func (h *Healthy) Set(claims []Claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.claims, h.known = slices.Clone(claims), true
	if !h.sick {
		h.Elector.Set(claims)
	}
}

// SetHealthy says whether this node can serve what is claimed. Without health every claim is dropped at once; a Lease held
// for them is passed on.
func (h *Healthy) SetHealthy(healthy bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sick == !healthy {
		return
	}
	h.sick = !healthy
	switch {
	case h.sick:
		h.Elector.Set(nil)
	case h.known:
		h.Elector.Set(h.claims)
	}
}
