package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// The holder's sources.
const (
	SourceControlPlane = "control plane"
	SourceServices     = "services"
)

// reports is the claim whose holder tells users why a Service is held by nobody, and what of it has no effect. It has no address.
const reports = "reports"

// ServicesConfig is what [Services] works with.
type ServicesConfig struct {
	Node      string // this node's name
	Mode      string // how traffic is led here, for people: ARP, BGP
	Policy    Policy
	Client    kubernetes.Interface
	Namespace string // the only namespace that is served; "" means all
	Holder    *Holder
	Elector   Elector
	Reserved  []Reserved // beside what the API server and [Surroundings] tell: the control plane's addresses
	// Preserve keeps addresses on the link, quietly, after the right to them was lost, until another host is heard to use them.
	Preserve bool
	// GiveUpAfter is how long a link must be in trouble for this node to let go of what goes to it, although nobody else takes it; 0 is
	// never.
	GiveUpAfter time.Duration
	// StayAtStop leaves everything as it is when Run ends: without an election it is the announcers that withdraw, in their
	// own manner.
	StayAtStop bool
	// Drain is how long routers are told to use other nodes first before what they serve as well is withdrawn here, when this node
	// should let go of it and there is no election to pass it on (StayAtStop).
	Drain time.Duration
	// Detached announces addresses without putting them on a link.
	Detached bool
	Reporter *Reporter
	Labels   *Labels  // may be nil
	Metrics  *Metrics // may be nil
	// Leaving is called when this node should hand over what it holds, with the reason, and with "" when it needn't any
	// more. May be nil.
	Leaving func(reason string)
	// Registered is called with the UID of this node's Node when that was read, and when it may have changed. May be nil.
	Registered func(types.UID)
	Logger     *slog.Logger
}

// Services holds the addresses of Services of type LoadBalancer: it follows the objects, stands for their claims and tells
// the holder which addresses the rights that it got are for. One goroutine does it, whatever the number of Services.
type Services struct {
	cfg   ServicesConfig
	inbox inbox

	mu       sync.Mutex // guards the fields below
	objects  *objects   // nil until they are complete
	facts    *Facts
	groups   *groups
	reasons  map[Name]Reason
	ousted   map[Name]bool   // of these, those that this node held when it found the reason: it tells their users
	noEffect map[Name]string // what users are told of annotations that have none
	stopping bool
	leaving  string    // why this node hands over, or ""
	drained  time.Time // with leaving: from when on what others serve is dropped
	states   map[vip.Key]State
	foreign  map[netip.Addr]foreign      // addresses of ours that others were heard to use
	passed   map[string]map[vip.Key]bool // by claim that is passed on, the addresses whose successor was heard
	spoken   bool                        // Apply was called
	gone     map[string]bool             // nodes whose agents are gone, if it is for this one to tidy up after them
	live     []string                    // those whose agents live, in that case
	list     []election.Right            // as given, sorted by claim
	rights   map[string]election.Right
	former   map[string]*Group // what the rights are for, also where the claim has another name by now
	kept     map[string]bool   // claims whose right was lost and whose addresses are preserved
	disputes disputes

	surroundings Surroundings
	links        links
}

// NewServices returns Services that do nothing before Run.
func NewServices(cfg ServicesConfig) *Services {
	s := &Services{
		cfg: cfg, reasons: make(map[Name]Reason), ousted: make(map[Name]bool), noEffect: make(map[Name]string),
		states: make(map[vip.Key]State), foreign: make(map[netip.Addr]foreign), passed: make(map[string]map[vip.Key]bool), inbox: newInbox(), facts: NewFacts(cfg.Reserved, nil),
		rights: make(map[string]election.Right), former: make(map[string]*Group), kept: make(map[string]bool), disputes: make(disputes),
		links: links{giveUp: cfg.GiveUpAfter, since: make(map[string]time.Time), alarms: make(map[string]time.Time)},
	}
	s.groups = newGroups(s.judge)
	return s
}

// Run serves until ctx ends, then hands over or gives back everything. While the API server is away it goes on with what it
// knows.
func (s *Services) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	o := newObjects(s.cfg.Client, s.cfg.Namespace, s.cfg.Node, &s.inbox)
	g.Go(func() error { return o.run(ctx, s.cfg.Logger) })
	g.Go(func() error { o.startSlowly(ctx, s.cfg.Logger); return nil })
	g.Go(func() error { return s.follow(ctx, o) })
	g.Go(func() error {
		return s.cfg.Elector.Run(ctx, func(work context.Context, rights []election.Right) error {
			return s.apply(work, rights, ctx.Err() != nil)
		})
	})
	err := g.Wait()
	return errors.Join(err, s.release(ctx))
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.inbox.wake:
			s.handle(s.inbox.take())
		}
	}
}

// handle takes in n, tells elector and holder what changed, and reports.
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
	if own := s.objects.own(); n.facts && own != nil && s.cfg.Registered != nil {
		s.cfg.Registered(own.UID)
	}
	changed := n.facts && s.refreshLeaving() || n.all
	for name := range names {
		changed = s.decide(name) || changed
	}
	changed = s.relink(n.paths, names) || changed
	for _, st := range n.states {
		changed = s.noteState(st, names) || changed
	}
	if changed {
		s.publish()
	}
	for _, claim := range n.claims {
		if g := s.groups.claims[claim]; g != nil {
			for _, name := range g.Services {
				names[name] = struct{}{}
			}
		}
		if claim == reports {
			for name := range s.reasons {
				names[name] = struct{}{}
			}
			for name := range s.noEffect {
				names[name] = struct{}{}
			}
		}
	}
	s.noteHosts(n, names)
	for name := range names {
		s.report(name)
	}
}

// noteState remembers the phase of an address, adds the Services that have it to names, and reports whether a stranger has it now, or no
// more.
func (s *Services) noteState(st State, names map[Name]struct{}) (changed bool) {
	was := s.states[st.Address.Key()].Phase
	if st.Phase == Released {
		delete(s.states, st.Address.Key())
	} else {
		s.states[st.Address.Key()] = st
	}
	for name := range s.groups.tied[tie{addr: st.Address.Prefix.Addr()}] {
		names[name] = struct{}{}
	}
	return (was == Conflict) != (st.Phase == Conflict)
}

// isForeign reports whether a stranger has an address of g, as far as this node was to take it.
func (s *Services) isForeign(g *Group) bool {
	return slices.ContainsFunc(g.Addresses, func(a vip.Address) bool { return s.states[a.Key()].Phase == Conflict })
}

// decide looks at one Service anew and reports whether what it asks for changed.
func (s *Services) decide(name Name) bool {
	svc := s.objects.service(name)
	if svc == nil {
		delete(s.reasons, name)
		delete(s.ousted, name)
		delete(s.noEffect, name)
		return s.groups.set(name, Wish{})
	}
	w, reason := Desired(&s.cfg.Policy, s.facts, svc, s.objects.slicesOf(name))
	s.noteEffects(name, svc, reason)
	if reason.Name == "" || !reason.Ours {
		delete(s.reasons, name)
	} else {
		s.reasons[name] = reason
	}
	if !reason.Warning {
		delete(s.ousted, name)
	} else if s.holds(name) {
		s.ousted[name] = true
	}
	return s.groups.set(name, w)
}

// holds reports whether this node has the right to a Service's addresses.
func (s *Services) holds(name Name) bool {
	g := s.groups.of[name]
	if g == nil {
		return false
	}
	right, mine := s.rights[g.Claim.Name]
	return mine && !right.Passing && s.groups.wishes[name].Active
}

// refreshFacts reports whether what is known about this node's surroundings changed.
func (s *Services) refreshFacts() bool {
	f := NewFacts(slices.Concat(s.cfg.Reserved, s.surroundings.Reserved, s.objects.reserved()), s.surroundings.Subnets)
	if f.equal(s.facts) {
		return false
	}
	s.facts = f
	return true
}

// publish tells the elector what this node stands for, and the holder what the rights it has mean now.
func (s *Services) publish() {
	claims := make([]election.Claim, 0, len(s.groups.claims)+1)
	idles := s.leaseIdles()
	for _, g := range s.groups.claims {
		if !s.leaves(g) || time.Now().Before(s.drained) {
			c := g.Claim
			c.Yields, c.Foreign = c.Yields || c.Leased && idles, s.isForeign(g)
			claims = append(claims, c)
		}
	}
	s.cfg.Elector.Set(append(claims, election.Claim{Name: reports, Leased: true, Yields: idles}))
	maps.DeleteFunc(s.kept, func(claim string, _ bool) bool { return s.groups.claims[claim] == nil })
	if s.spoken {
		s.cfg.Holder.Set(SourceServices, s.wants())
	}
}

// Changed takes in what became of addresses; it is the holder's [HolderConfig.Changed].
func (s *Services) Changed(states []State) { s.inbox.changed(states) }
