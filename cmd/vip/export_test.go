package main

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
	"daymark/internal/l2"
)

// Fitness is fitness, with a carrier.
type Fitness struct {
	fitness
	Carrier carrier
	Served  atomic.Bool  // another node has the address
	Note    func(string) // of the test

	mu   sync.Mutex
	told []agent.Event
}

func (f *Fitness) note(e agent.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, e)
}

// Told returns the Events so far.
func (f *Fitness) Told() []agent.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

// NewFitness returns one over electors, the first of which gives up so long after its link, eth0, went down.
func NewFitness(after time.Duration, changed func(bool), log *slog.Logger, electors ...*election.Healthy) *Fitness {
	f := &Fitness{}
	f.Carrier = carrier{
		link: "eth0", fitness: &f.fitness, after: after, changed: changed, log: log,
		served: func() bool { return f.Served.Load() }, tell: f.note,
	}
	if len(electors) > 0 {
		f.Carrier.elector = electors[0]
	}
	for _, e := range electors {
		f.add(e)
	}
	return f
}

// Add is add.
func (f *Fitness) Add(e *election.Healthy) { f.add(e) }

// Yield is yield.
func (f *Fitness) Yield(only *election.Healthy, who, reason string) { f.yield(only, who, reason) }

// Refuse is refuse.
func (f *Fitness) Refuse(only *election.Healthy, who string, refused bool) {
	f.refuse(only, who, refused)
}

// Links is the carrier's set.
func (f *Fitness) Links(links ...datapath.Link) { f.Carrier.set(links) }

// Stop is stop.
func (c *carrier) Stop() { c.stop() }

// LinkLooks is linkLooks.
const LinkLooks = linkLooks

// Stations is stations.
var Stations = stations

// UnmapProgram is unmapProgram.
var UnmapProgram = unmapProgram

// ParseMapping returns what a line of smaps says of a mapping.
func ParseMapping(line string) (from, to uintptr, writable bool, file string, ok bool) {
	m, ok := parseMapping(line)
	return m.from, m.to, m.writable, m.file, ok
}

// Surroundings is surroundings.
type Surroundings struct{ surroundings }

// NewSurroundings returns those of a node that tells of them.
func NewSurroundings(node string, tell func(agent.Surroundings)) *Surroundings {
	return &Surroundings{surroundings{node: node, tell: tell}}
}

// SetLinks is setLinks.
func (s *Surroundings) SetLinks(links []datapath.Link) { s.setLinks(links) }

// SetDefaults is setDefaults.
func (s *Surroundings) SetDefaults(defaults []datapath.Default) { s.setDefaults(defaults) }

// LAN is what a node does about what it hears.
type LAN struct{ n node }

// NewLAN returns that of a node with a control plane, and with Services unless nil.
func NewLAN(lan *l2.Announcer, holder *agent.Holder, plane *agent.ControlPlane, services *agent.Services, log *slog.Logger) *LAN {
	return &LAN{node{lan: lan, holder: holder, controlPlane: plane, services: services, log: log}}
}

// Station has the node know the members by their hardware addresses, on the links that are stationed.
func (l *LAN) Station(station func(mac string) string, stationed ...string) {
	l.n.station, l.n.stationed = station, func(link string) bool { return slices.Contains(stationed, link) }
}

// Heard is heard.
func (l *LAN) Heard(h l2.Heard) { l.n.heard(h) }

// Dispute is dispute.
func (l *LAN) Dispute(h l2.Heard, member string) { l.n.dispute(h, member) }

// Prober is what the holder probes with: past all that members say, or only past their questions.
func (l *LAN) Prober(members bool) agent.Prober {
	if members {
		return l.n.strangers()
	}
	return l.n.prober()
}

// Listener is what the holder listens with.
func (l *LAN) Listener() agent.Listener { return lanListener{l.n.lan, l.n.stranger} }

// Renewal is renewal.
type Renewal struct{ r *renewal }

// NewRenewal is newRenewal.
func NewRenewal(config *rest.Config, kubeconfig string, log *slog.Logger) (Renewal, error) {
	r, err := newRenewal(config, kubeconfig, log)
	return Renewal{r}, err
}

// Look is look.
func (r Renewal) Look() error { return r.r.look() }

// Follows reports whether there is a certificate to follow.
func (r Renewal) Follows() bool { return r.r != nil }

// NewStrictARP returns what looks at links, and tells whether kernels may answer for others.
func NewStrictARP(link string, sysctl func(string) (string, error), tell func(agent.Event)) func([]datapath.Link) {
	return (&strictARP{link: link, sysctl: sysctl, tell: tell}).set
}
