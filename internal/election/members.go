package election

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// memberLabel is on every member's Lease; its value is the group.
const memberLabel = "kube-vip.io/member-of"

// MembersConfig is what [Members] works on.
type MembersConfig struct {
	Config
	// Group tells sets of members apart that have nothing to do with each other, such as the agents for the control plane and
	// those for Services, which may run on one node: a label value, part of the leases' names.
	Group string
	// Changed is told who lives whenever that changed, by the goroutine of Run; it returns soon. May be nil.
	Changed func(Census)
	// Trouble is told what somebody has to see to, in a sentence for an Event, once each time that it begins; by the goroutine of Run,
	// and it returns soon. May be nil.
	Trouble func(text string)
}

// Members spreads claims over nodes. Each node renews one Lease, its own; in it is a [record] that lists every claim that
// the node may hold. A claim is held by the live, eligible node with the highest score for it. One write of a node carries
// any number of changes and is its renewal too, so the cost at rest is one write and one event a node and period, whatever
// the number of claims.
//
// # Why no claim has two holders
//
// All member Leases are seen through one watch, which delivers writes in the order of their resourceVersions. A node H with
// nobody above it for a claim takes it so:
//
//  1. It lists the claim in a write w.
//  2. It waits until its own watch delivers w. Then it has seen every write before w.
//  3. If then no other live node lists the claim, H holds it, until the lease duration (less a margin) after the sending of
//     its last write that is known to have succeeded. Otherwise it waits, and the rules below say who retracts.
//
// It retracts the claim only after Apply has removed it, or marked it as passing. So of two nodes that list a claim, the one
// whose write came second has seen the first one's before it holds, and does not.
//
// A dead node retracts nothing: its list is void when it is certain that its rights have ended. A node's right counts from
// when its last successful write was sent, which is before anybody saw it. So the right is over when a lease duration has
// passed since the write was seen and no later one was made in that time. To be certain of the latter H needs a watch that
// is known to be up to date: the delivery of a write that H itself sent after that duration (or a quorum list sent after
// it). A stalled watch thus delays H, but never makes a live node look dead.
//
// A write of the node that looked dead may still arrive later. It does not revive the node's rights: a node whose write is
// answered only after the end of its rights begins anew with step 1 for every claim. And one that is answered in time was made
// in time to be seen.
//
// That the rights of a write have ended stays true, so whoever is certain of it says it in its record, of that one write and no later
// one. Who starts after a death believes it, and needs not see the silence of a whole lease duration: what it is passed it takes
// at once, though a dead node's record still lists it, and it passes nothing to the dead. Where nobody says it, as among members of
// an older version, it waits.
//
// # Why a claim has a holder soon
//
// A listing is an intention that others can see, and scores are the same for everybody, so conflicts have one outcome: who
// lists a claim and sees a better node list it retracts, or when it holds the claim, passes it. A node joins so without a
// gap, and takes over only what is its own. A node that leaves (Yield, the end of Run, or a claim's Nodes) says so in its record,
// keeps what it holds until a successor lists it, and passes it.
//
// Nodes may differ in what they know of claims and eligibility. While nobody lists a claim, the second best node lists it
// after a quarter of a retry period, the third after two of them, and so on.
//
// Who comes back lists what suits it best, and is passed that only after it has written once more, which it does when its first write was
// answered: its API server may have come back with it, and tell it late what others see at once. Who has to go passes to anybody.
//
// # What nobody had yet
//
// An address that no node had is probed for; one that another had is not. What others only listed, or had for less than half a second, may
// not be free, and what is found to be a stranger's is held all the same. A record tells of both (Untried); an older version's does not.
//
// # What can't be read
//
// A live member whose record can't be read, as of a later version or damaged, may list anything, whatever it listed before: while it
// renews nobody can be certain of a claim that it has not got. So a node that sees one lists nothing but what it holds, under whatever
// name; that it keeps, and hands over as ever, since it is listed in its own record, which a later version reads. What nobody lists is
// for the members that can read all. So claims have a holder while versions are mixed, and no claim has two. Under the one lease
// of [Gated] its holder takes nothing new meanwhile, and nobody else does, also where it got the lease just now: what its predecessor
// had is with nobody until the record is gone, or the lease with a member that reads all.
//
// A damaged record is written again by its owner, which lost its rights by it, within a lease duration; one that nobody renews ends as
// a dead member does.
//
// The price is that a record which goes on being renewed and can't be read by anybody stops what would be taken, not what is held,
// until somebody acts: MembersConfig.Trouble tells of it. Who can write Leases can do that by a readable one as well.
//
// # What it doesn't do
//
// A member Lease that is deleted by hand is made again at once by its node, if that lives; a process that starts just then
// does not know what the node held, and it takes one more write until the two have settled it by score.
type Members struct {
	cfg    MembersConfig
	client coordinationv1client.LeaseInterface
	name   string // of the own Lease
	self   incarnation
	wake   chan struct{}

	inquiry inquiry

	mu      sync.Mutex
	claims  []Claim
	set     bool // Set was called
	changed bool // claims differ from what the loop knows
	heard   map[string]bool
	yielded bool
	leases  map[string]bool // those that this node stands for
	mine    []string        // this node's stations
	owner   *metav1.OwnerReference
	view    []member // live members as last seen, without this node

	stations map[string]string // every other member's, by hardware address

	census Census // as it was told last; belongs to the loop
}

// NewMembers returns an elector, or everything that is wrong with cfg.
func NewMembers(cfg MembersConfig) (*Members, error) {
	errs := []error{cfg.validate()}
	if len(validation.IsDNS1123Label(cfg.Group)) > 0 {
		errs = append(errs, fmt.Errorf("group %q: must be a DNS label", cfg.Group))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m := &Members{
		cfg:    cfg,
		client: cfg.Client.Leases(cfg.Namespace),
		name:   memberName(cfg.Group, cfg.Identity),
		self:   newIncarnation(cfg.Host),
		wake:   make(chan struct{}, 1),
		heard:  map[string]bool{},
		leases: map[string]bool{},
	}
	m.cfg.Log = cfg.Log.With("lease", cfg.Namespace+"/"+m.name)
	return m, nil
}

// memberName returns the name of a member's Lease. One that would be no name of an object ends in a hash instead.
func memberName(group, node string) string {
	name := "kube-vip-member-" + group + "-" + node
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		id := hash(node)
		return "kube-vip-member-" + group + "-" + hex.EncodeToString([]byte{
			byte(id >> 56), byte(id >> 48), byte(id >> 40), byte(id >> 32), byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id),
		})
	}
	return name
}

// Set is [Elector] Set. A node whose Set was never called is no candidate for claims: others don't wait for it.
func (m *Members) Set(claims []Claim) {
	sorted := slices.Clone(claims)
	slices.SortFunc(sorted, func(a, b Claim) int { return cmp.Compare(a.Name, b.Name) })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims, m.set, m.changed = sorted, true, true
	signal(m.wake)
}

// Heard is [Elector] Heard.
func (m *Members) Heard(claim string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard[claim] = true
	signal(m.wake)
}

// Yield is [Elector] Yield.
func (m *Members) Yield() { m.setYielded(true) }

// Resume is [Elector] Resume.
func (m *Members) Resume() { m.setYielded(false) }

func (m *Members) setYielded(yielded bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.yielded = yielded
	signal(m.wake)
}

// Stand is [Peers] Stand.
func (m *Members) Stand(lease string, candidate bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases[lease] == candidate {
		return
	}
	delete(m.leases, lease)
	if candidate {
		m.leases[lease] = true
	}
	signal(m.wake)
}

// Candidates is [Peers] Candidates: the live members that stand for lease and don't yield, by their score for it.
func (m *Members) Candidates(lease string) []Candidate {
	m.mu.Lock()
	defer m.mu.Unlock()
	var members []member
	for _, o := range m.view {
		if !o.record.Yields && slices.Contains(o.record.Leases, lease) {
			members = append(members, o)
		}
	}
	id := hash(lease)
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(score(b.id, id, evenWeight), score(a.id, id, evenWeight)) })
	var out []Candidate
	for _, o := range members {
		out = append(out, Candidate{o.node, string(o.record.Incarnation)})
	}
	return out
}

// SetStations says which hardware addresses this node announces from, so that the others can tell it from strangers
// ([Members.Station]). It returns at once.
func (m *Members) SetStations(stations []string) {
	sorted := slices.Sorted(slices.Values(stations))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(sorted, m.mine) {
		m.mine = sorted
		signal(m.wake)
	}
}

// Station returns the member that announces from a hardware address, as last seen, dead or alive; empty for a stranger.
func (m *Members) Station(address string) (node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stations[address]
}

// Stationed reports whether every live member says from which hardware addresses it announces, so that who is none of theirs is a
// stranger.
func (m *Members) Stationed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !slices.ContainsFunc(m.view, func(o member) bool { return len(o.record.Stations) == 0 })
}

// Incarnation is [Peers] Incarnation: how this process is named in its member Lease.
func (m *Members) Incarnation() string { return string(m.self) }

// Live returns the nodes that are alive as this node sees them, without itself, sorted.
func (m *Members) Live() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return names(m.view)
}

// names returns the nodes of members, sorted.
func names(members []member) []string {
	var out []string
	for _, o := range members {
		out = append(out, o.node)
	}
	slices.Sort(out)
	return out
}

// Holder returns the node other than this one that lists claim as its own, as last seen; empty when none does.
func (m *Members) Holder(claim string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := hash(claim)
	for _, o := range m.view {
		if o.record.Claims.has(id) {
			return o.node
		}
	}
	return ""
}

// Run is [Elector] Run. After ctx ends it takes as long as successors need: a second and a half as a rule, the lease
// duration at most.
func (m *Members) Run(ctx context.Context, apply Apply) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	loop := newMembersLoop(work, m, apply)
	unlock, alone := m.cfg.lock(m.cfg.Namespace + "/" + m.name)
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

// asked is what the agent wants of Members at one moment.
type asked struct {
	claims  []Claim // only when changed
	set     bool
	changed bool
	yielded bool
	heard   map[string]bool // since the last time
	leases  []string

	stations []string
}

func (m *Members) take() asked {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := asked{
		set: m.set, changed: m.changed, yielded: m.yielded, heard: m.heard, leases: slices.Sorted(maps.Keys(m.leases)), stations: m.mine,
	}
	if m.changed {
		a.claims, m.changed = m.claims, false
	}
	if len(m.heard) > 0 {
		m.heard = map[string]bool{}
	}
	return a
}

// trouble tells what somebody has to see to.
func (m *Members) trouble(text string) {
	if m.cfg.Trouble != nil {
		m.cfg.Trouble(text)
	}
}
