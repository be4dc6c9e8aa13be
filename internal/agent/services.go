package agent

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// The holder's sources.
const (
	SourceControlPlane = "control plane"
	SourceShared       = "services"        // under the one lease for Services
	SourceSpread       = "spread services" // spread over the members
)

// reports is the claim whose holder tells users why a Service is held by nobody. It has no address.
const reports = "reports"

// ServicesConfig is what [Services] works with.
type ServicesConfig struct {
	Node      string // this node's name
	Mode      string // how traffic is led here, for people: ARP, BGP
	Policy    Policy
	Client    kubernetes.Interface
	Namespace string // the only namespace that is served; "" means all
	Holder    *Holder
	Shared    Elector
	Spread    Elector    // may be Shared itself
	Reserved  []Reserved // beside what the API server tells: gateways, the control plane's addresses
	// Subnets returns the networks that this node's links are in; asked again when objects change. May be nil.
	Subnets func() []Subnet
	// Preserve keeps addresses on the link, quietly, after the right to them was lost.
	Preserve bool
	// StayAtStop leaves everything as it is when Run ends: without an election it is the announcers that withdraw, in their
	// own manner.
	StayAtStop bool
	// Detached announces addresses without putting them on a link.
	Detached bool
	Reporter *Reporter
	Labels   *Labels  // may be nil
	Metrics  *Metrics // may be nil
	// Leaving is called when this node should hand over what it holds, with the reason, and with "" when it needn't any
	// more. May be nil.
	Leaving func(reason string)
	Logger  *slog.Logger
}

// Services holds the addresses of Services of type LoadBalancer: it follows the objects, stands for their claims and tells
// the holder which addresses the rights that it got are for. One goroutine does it, whatever the number of Services.
type Services struct {
	cfg   ServicesConfig
	sides []*side
	inbox inbox

	mu       sync.Mutex // guards the fields below
	objects  *objects   // nil until they are complete
	facts    *Facts
	groups   *groups
	reasons  map[Name]Reason
	stopping bool
	leaving  string // why this node hands over, or ""
	states   map[vip.Key]State
	foreign  map[netip.Addr]foreign // addresses of ours that others were heard to use
	passed   map[vip.Key]bool       // addresses whose successor was heard
}

// side is one elector and what it is for.
type side struct {
	source   string
	elector  Elector
	spread   bool
	detached bool
	groups   map[string]*Group // by claim; kept by [groups]
	list     []election.Right  // as given, sorted by claim
	rights   map[string]election.Right
	kept     map[string]bool // claims whose right was lost and whose addresses are preserved
	spoken   bool            // Apply was called
}

// foreign is another host that uses an address.
type foreign struct {
	who string
	at  time.Time
}

// foreignFor is how long a conflict is shown after the other host was last heard.
const foreignFor = time.Minute

// NewServices returns Services that do nothing before Run.
func NewServices(cfg ServicesConfig) *Services {
	s := &Services{
		cfg: cfg, groups: newGroups(cfg.Spread == cfg.Shared), reasons: make(map[Name]Reason), states: make(map[vip.Key]State),
		foreign: make(map[netip.Addr]foreign), passed: make(map[vip.Key]bool), inbox: newInbox(), facts: NewFacts(cfg.Reserved, nil),
	}
	s.sides = []*side{newSide(SourceShared, cfg.Shared, &cfg)}
	if cfg.Spread != cfg.Shared {
		s.sides = append(s.sides, newSide(SourceSpread, cfg.Spread, &cfg))
	}
	for i, side := range s.sides {
		side.groups = s.groups.claims[i]
	}
	return s
}

func newSide(source string, e Elector, cfg *ServicesConfig) *side {
	return &side{source: source, elector: e, spread: source == SourceSpread, detached: cfg.Detached, rights: make(map[string]election.Right), kept: make(map[string]bool)}
}

// Sources returns the names under which s speaks to the holder.
func (s *Services) Sources() []string {
	var out []string
	for _, side := range s.sides {
		out = append(out, side.source)
	}
	return out
}

// Run serves until ctx ends, then hands over or gives back everything. While the API server is away it goes on with what it
// knows.
func (s *Services) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	o := newObjects(s.cfg.Client, s.cfg.Namespace, s.cfg.Node, &s.inbox)
	g.Go(func() error { return o.run(ctx, s.cfg.Logger) })
	g.Go(func() error { o.startSlowly(ctx, s.cfg.Logger); return nil })
	g.Go(func() error { return s.follow(ctx, o) })
	for _, side := range s.sides {
		g.Go(func() error {
			return side.elector.Run(ctx, func(work context.Context, rights []election.Right) error {
				return s.apply(work, side, rights, ctx.Err() != nil)
			})
		})
	}
	return g.Wait()
}

// follow is the one goroutine that turns news into claims and reports.
func (s *Services) follow(ctx context.Context, o *objects) error {
	if !o.wait(ctx) {
		return nil
	}
	s.mu.Lock()
	s.objects = o
	s.mu.Unlock()
	s.inbox.all()
	// What the links say can change without any object changing.
	refresh := time.NewTicker(30 * time.Second)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-refresh.C:
			s.inbox.facts()
		case <-s.inbox.wake:
			s.handle(s.inbox.take())
		}
	}
}

// handle takes in n, tells electors and holder what changed, and reports.
func (s *Services) handle(n news) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.cfg.Metrics.decided(time.Now())
	names := n.names
	if n.facts && s.refreshFacts() || n.all {
		for _, name := range s.objects.names() {
			names[name] = struct{}{}
		}
		for name := range s.groups.wishes {
			names[name] = struct{}{}
		}
	}
	changed := n.all
	for name := range names {
		changed = s.decide(name) || changed
	}
	if changed {
		s.publish()
	}
	for _, st := range n.states {
		s.noteState(st, names)
	}
	for _, claim := range n.claims {
		for _, side := range s.sides {
			if g := side.groups[claim]; g != nil {
				for _, name := range g.Services {
					names[name] = struct{}{}
				}
			}
		}
		if claim == reports {
			for name := range s.reasons {
				names[name] = struct{}{}
			}
		}
	}
	for name := range names {
		s.report(name)
	}
}

// noteState remembers the phase of an address and adds the Services that have it to names.
func (s *Services) noteState(st State, names map[Name]struct{}) {
	if st.Phase == Released {
		delete(s.states, st.Address.Key())
	} else {
		s.states[st.Address.Key()] = st
	}
	for name := range s.groups.tied[tie{addr: st.Address.Prefix.Addr()}] {
		names[name] = struct{}{}
	}
}

// decide looks at one Service anew and reports whether what it asks for changed.
func (s *Services) decide(name Name) bool {
	svc := s.objects.service(name)
	if svc == nil {
		delete(s.reasons, name)
		return s.groups.set(name, Wish{})
	}
	w, reason := Desired(&s.cfg.Policy, s.facts, svc, s.objects.slicesOf(name))
	if reason.Name == "" || !reason.Ours {
		delete(s.reasons, name)
	} else {
		s.reasons[name] = reason
	}
	return s.groups.set(name, w)
}

// refreshFacts reports whether what is known about this node's surroundings changed.
func (s *Services) refreshFacts() bool {
	var subnets []Subnet
	if s.cfg.Subnets != nil {
		subnets = s.cfg.Subnets()
	}
	if reason := Leaving(s.objects.own()); s.cfg.Leaving != nil && reason != s.leaving {
		s.leaving = reason
		s.cfg.Leaving(reason)
	}
	f := NewFacts(slices.Concat(s.cfg.Reserved, s.objects.reserved()), subnets)
	if f.equal(s.facts) {
		return false
	}
	s.facts = f
	return true
}

// publish tells the electors what this node stands for, and the holder what the rights it has mean now.
func (s *Services) publish() {
	for _, side := range s.sides {
		claims := make([]election.Claim, 0, len(side.groups)+1)
		for _, g := range side.groups {
			claims = append(claims, g.Claim)
		}
		if !side.spread {
			claims = append(claims, election.Claim{Name: reports})
		}
		side.elector.Set(claims)
		maps.DeleteFunc(side.kept, func(claim string, _ bool) bool { return side.groups[claim] == nil })
		if side.spoken {
			s.cfg.Holder.Set(side.source, side.wants())
		}
	}
}

func (s *Services) sideOf(g *Group) *side { return s.sides[s.groups.side(g)] }

// apply is what the elector of a side calls.
func (s *Services) apply(ctx context.Context, side *side, rights []election.Right, stopping bool) error {
	if stopping && s.cfg.StayAtStop {
		return nil
	}
	s.mu.Lock()
	s.stopping = s.stopping || stopping
	now := make(map[string]election.Right, len(rights))
	var changed []string
	for _, r := range rights {
		now[r.Claim] = r
		if old, ok := side.rights[r.Claim]; !ok || old.Passing != r.Passing {
			changed = append(changed, r.Claim)
			s.cfg.Logger.Debug("right", "lease", r.Claim, "passing", r.Passing, "failover", r.Failover)
		}
		delete(side.kept, r.Claim)
	}
	for claim := range side.rights {
		if _, ok := now[claim]; !ok {
			changed = append(changed, claim)
			if s.cfg.Preserve && !s.stopping && side.groups[claim] != nil {
				side.kept[claim] = true
			}
		}
	}
	if s.stopping {
		clear(side.kept)
	}
	side.list, side.rights, side.spoken = slices.Clone(rights), now, true
	version := s.cfg.Holder.Set(side.source, side.wants())
	s.mu.Unlock()
	if len(changed) > 0 {
		s.inbox.claims(changed)
	}
	return s.cfg.Holder.Await(ctx, version)
}

// wants returns the addresses that the rights of a side are for.
func (d *side) wants() []Want {
	out := make([]Want, 0, len(d.rights))
	for _, r := range d.list {
		g := d.groups[r.Claim]
		if g == nil {
			continue
		}
		for _, a := range g.Addresses {
			a.Until = r.Until
			out = append(out, Want{Address: a, Quiet: r.Passing, Passing: r.Passing, Detached: d.detached, Sure: r.Failover})
		}
	}
	for claim := range d.kept {
		for _, a := range d.groups[claim].Addresses {
			out = append(out, Want{Address: a, Quiet: true, Sure: true})
		}
	}
	return out
}

// Changed takes in what became of addresses; it is the holder's [HolderConfig.Changed].
func (s *Services) Changed(states []State) { s.inbox.changed(states) }

// Passed takes in that the successor of an address was heard. Once that is so for all addresses of a claim, it is let go.
func (s *Services) Passed(a vip.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	side, g := s.holdingLocked(a.Prefix.Addr())
	if g == nil || !side.rights[g.Claim.Name].Passing {
		return
	}
	s.passed[a.Key()] = true
	if !slices.ContainsFunc(g.Addresses, func(b vip.Address) bool { return !s.passed[b.Key()] }) {
		for _, b := range g.Addresses {
			delete(s.passed, b.Key())
		}
		side.elector.Heard(g.Claim.Name)
	}
}

// Conflict takes in that another host was heard using an address that this node holds. If that is another member the lease
// settles it; users are told in any case.
func (s *Services) Conflict(addr netip.Addr, who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, g := s.holdingLocked(addr); g != nil {
		s.cfg.Metrics.conflict()
		s.foreign[addr] = foreign{who, time.Now()}
		s.inbox.claims([]string{g.Claim.Name})
	}
}

// holdingLocked returns the claim that addr belongs to and its side, if this node has the right to it.
func (s *Services) holdingLocked(addr netip.Addr) (*side, *Group) {
	for name := range s.groups.tied[tie{addr: addr}] {
		g := s.groups.of[name]
		side := s.sideOf(g)
		if _, ok := side.rights[g.Claim.Name]; ok {
			return side, g
		}
		return nil, nil
	}
	return nil, nil
}
