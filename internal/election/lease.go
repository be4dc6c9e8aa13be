package election

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/validation"
)

// LeaseConfig is what a [Lease] works on.
type LeaseConfig struct {
	Config
	// Name of the Lease object.
	Name string
	// Annotations are put on the Lease object with each write; others that it has stay.
	Annotations map[string]string
	// Peers may be nil: then no successor is ever known, and the lease is released instead of passed.
	Peers Peers
}

// Peers knows the other nodes that could take over a Lease. A [Members] does.
type Peers interface {
	// Stand says whether this node would take over lease, which is namespace/name. It returns at once.
	Stand(lease string, candidate bool)
	// Candidates returns the live nodes that would, without this one, the best first.
	Candidates(lease string) []Candidate
	// Incarnation is the name by which the others' Candidates know this process. The lease uses it too: a successor knows by
	// it that the lease was passed to itself. Where it is empty the lease draws one.
	Incarnation() string
}

// Candidate is a node that would take over a lease.
type Candidate struct {
	// Node is its identity.
	Node string
	// Incarnation names the process on it that stands.
	Incarnation string
}

// Lease elects by one Kubernetes Lease: its holder has the right to every claim that it stands for. It speaks the protocol
// of client-go's elector, so that both can share a lease, and differs in five ways:
//
//   - A follower watches the lease and asks for nothing while another renews it. It takes a released lease at once, and any
//     other when the duration that the holder published has passed since the last change seen, on its own clock.
//   - A holder gives up the lease only after Apply has returned. Where Peers knows a live candidate the lease is passed:
//     announcing stops, a compare-and-swap on the resourceVersion names the candidate as the holder, and this node answers
//     until the successor is heard. A candidate that has not renewed half a second later is passed over for the next.
//   - A lease that vanishes under a live holder is made again by it at once; followers wait as if it were there.
//   - An annotation names the process that holds. One that finds its own identity there but another process waits for the
//     end of the lease like everybody else: two nodes with one name by mistake do not both hold. Only a process that starts
//     on the same host continues at once; if its predecessor is alive after all, that one loses the lease for good, and
//     the addresses of both are the same kernel's.
//   - Another annotation says that the holder knows a stranger to have what the lease is for. Who has it next probes for that,
//     however it comes by it.
//
// A right counts from the sending of the holder's own renewal, never from what another wrote for it.
//
// Known limits: when somebody deletes the lease, an elector of client-go does not wait for the old holder's end, and a
// process of ours that starts in the same moment can't know of it; the old holder lets go when it sees the new one.
type Lease struct {
	cfg    LeaseConfig
	leases leaseStore
	self   incarnation
	wake   chan struct{}

	inquiry inquiry

	mu      sync.Mutex
	claims  []Claim
	heard   map[string]bool // since the lease was last passed
	yielded bool
	holder  string
}

// NewLease returns an elector, or everything that is wrong with cfg.
func NewLease(cfg LeaseConfig) (*Lease, error) {
	errs := []error{cfg.validate()}
	for _, problem := range validation.IsDNS1123Subdomain(cfg.Name) {
		errs = append(errs, fmt.Errorf("lease name %q: %s", cfg.Name, problem))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	cfg.Log = cfg.Log.With("lease", cfg.Namespace+"/"+cfg.Name)
	self := newIncarnation(cfg.Host)
	if cfg.Peers != nil && cfg.Peers.Incarnation() != "" {
		self = incarnation(cfg.Peers.Incarnation())
	}
	return &Lease{
		cfg:   cfg,
		self:  self,
		wake:  make(chan struct{}, 1),
		heard: map[string]bool{},
		leases: leaseStore{
			client: cfg.Client.Leases(cfg.Namespace), namespace: cfg.Namespace, name: cfg.Name, timing: cfg.Timing,
		},
	}, nil
}

// Set is [Elector] Set. While no claim is left that this node may hold it does not stand for the lease: it gives it up, and
// leaves it to others.
func (l *Lease) Set(claims []Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims = slices.Clone(claims)
	slices.SortFunc(l.claims, func(a, b Claim) int { return cmp.Compare(a.Name, b.Name) })
	signal(l.wake)
}

// Heard is [Elector] Heard.
func (l *Lease) Heard(claim string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard[claim] = true
	signal(l.wake)
}

// Yield is [Elector] Yield.
func (l *Lease) Yield() { l.setYielded(true) }

// Resume is [Elector] Resume.
func (l *Lease) Resume() { l.setYielded(false) }

func (l *Lease) setYielded(yielded bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.yielded = yielded
	signal(l.wake)
}

// Holder returns the identity of the lease's holder as last seen; empty when there is none, or none is known.
func (l *Lease) Holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// Name returns the lease as namespace/name.
func (l *Lease) Name() string { return l.cfg.Namespace + "/" + l.cfg.Name }

// Run is [Elector] Run. After ctx ends it takes as long as a successor needs, a second and a half as a rule and at most two
// renew deadlines.
func (l *Lease) Run(ctx context.Context, apply Apply) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	loop := newLeaseLoop(work, l, apply)
	unlock, alone := l.cfg.lock(l.Name())
	defer unlock()
	loop.alone = alone
	var wg sync.WaitGroup
	wg.Go(func() { loop.ap.run(work) })
	wg.Go(func() { loop.watch.run(work) })
	defer wg.Wait()
	defer loop.req.wg.Wait()
	defer stop()
	loop.run(ctx)
	return nil
}

// wants is what the agent wants of the lease at one moment.
type wants struct {
	names   []string        // claims that this node stands for, sorted
	known   map[string]bool // every claim in the set, eligible or not
	foreign bool            // one of names is a stranger's
	heard   map[string]bool
	yielded bool
}

func (l *Lease) wants() wants {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := wants{known: map[string]bool{}, heard: map[string]bool{}, yielded: l.yielded}
	for _, c := range l.claims {
		if c.stands(l.cfg.Identity) && !w.known[c.Name] {
			w.names, w.foreign = append(w.names, c.Name), w.foreign || c.Foreign
		}
		w.known[c.Name] = true
	}
	for name := range l.heard {
		w.heard[name] = true
	}
	return w
}

// pass forgets what was heard before the lease is passed.
func (l *Lease) forgetHeard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.heard)
}

func (l *Lease) setHolder(holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder = holder
}

// short returns an incarnation for the log, without the host.
func short(i incarnation) string {
	_, random, _ := strings.Cut(string(i), "/")
	return random
}
