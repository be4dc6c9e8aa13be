package election

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Claim is something of which at most one node may be the holder: a group of addresses that belong together.
type Claim struct {
	// Name is equal on every node for the same claim, and another one where Parts differ.
	Name string
	// Place decides which node suits the claim best, such as the group's lowest address or a name chosen by the user; it
	// stays the same while parts come and go. Empty means Name.
	Place string
	// Parts are what it consists of, such as its addresses. No two nodes hold claims that share a part, whatever these are
	// called: while nodes differ in what they know of the objects, they differ in what belongs together. nil means Name alone.
	Parts []string
	// Nodes are the nodes that may hold it, as this node sees it, sorted; nil means every candidate, and empty none. A
	// holder that is not among them any more hands the claim over, or lets go of it when nobody may hold it.
	Nodes []string
	// Leased means that only the holder of a lease may have it; see [Gated]. Others take no notice of it.
	Leased bool
	// Abstains means that this node does not stand for it, whatever Nodes says; others may.
	Abstains bool
	// Foreign means that this node has no use of the right to it: a stranger has an address of it. Who takes it next is told ([Right]
	// Contended).
	Foreign bool
	// Yields means that this node stands for it last, as after [Elector] Yield for all that it holds: it hands it over to a node
	// that can take it, and takes it where nobody else does.
	Yields bool
}

// place returns the hash that decides which node suits c best.
func (c Claim) place() uint64 { return hash(cmp.Or(c.Place, c.Name)) }

// parts returns the hashes of what c consists of.
func (c Claim) parts() []uint64 {
	if c.Parts == nil {
		return []uint64{hash(c.Name)}
	}
	out := make([]uint64, len(c.Parts))
	for i, p := range c.Parts {
		out[i] = hash(p)
	}
	return out
}

// allows reports whether node may hold c.
func (c Claim) allows(node string) bool { return c.Nodes == nil || slices.Contains(c.Nodes, node) }

// stands reports whether node, this one, may hold c.
func (c Claim) stands(node string) bool { return !c.Abstains && c.allows(node) }

// Right is this node's permission to hold one claim.
type Right struct {
	Claim string
	// Until is when the right ends unless it is renewed before; zero means that it has no end. It is counted from the moment
	// the last successful renewal was sent and lies a twentieth of the lease duration before the moment at which others may
	// take over: room for a kernel lifetime that ends late. It is the fence: nothing is announced after it, and a kernel
	// lifetime is rounded down to end no later. A live holder that fails to renew is told earlier, at the renew deadline, by a
	// set without the right.
	Until time.Time
	// Passing means that the right is on its way to a successor: announce nothing any more, but go on answering, so that no
	// packet is lost. The elector takes it out of the set as soon as the successor is heard ([Elector] Heard), and a second
	// after the successor was let in at the latest; Until lies at least half a second beyond that, or where it was.
	Passing bool
	// Failover means that another node had the right before, and stopped renewing or passed it on. It may still answer for the
	// address, which therefore can't be probed for.
	Failover bool
	// Contended means that another node stood for it too, and had the right for a moment at most, not long enough to know whether the address
	// was free; or had it, and knew it for a stranger's ([Claim] Foreign). It may have it on its link all the same. So it is probed for, and
	// what other members answer doesn't count.
	Contended bool
}

// Apply makes rights true. It gets the complete set, sorted by claim, to keep; it returns nil only once everything that is not in
// the set any more is withdrawn and removed, and nothing is announced for a right that is Passing. It is called by one
// goroutine at a time, always with the newest set, and never delays a renewal; after an error it is called again.
// An elector gives a right to others only after Apply returned nil for a set without it, or with it Passing.
//
// The first call comes once it is known what this node holds, or a lease duration after the start. Until then what a
// predecessor on this node left in the kernel is not to be touched: it may well be this node's still.
type Apply func(ctx context.Context, rights []Right) error

// Elector is what every implementation in this package offers. The agent declares what it needs of it by itself.
type Elector interface {
	// Set replaces the claims that this node stands for. It returns at once; safe for concurrent use, also before Run. A
	// claim that is left out is dropped at once, without waiting for a successor: to hand it over, change its Nodes, or Yield.
	Set(claims []Claim)
	// Heard says that the successor of a passed claim was heard announcing it, so that it can be let go of at once.
	Heard(claim string)
	// Verify asks whether the right to a claim still stands, as when another member was heard to use what it is for: not by what
	// this node believes, but by a renewal that is sent now. One is made for that once a second at most for each Lease, and
	// answers all who asked before. A right that turns out to be another's is lost before settled is told so. settled is
	// called once, from any goroutine, perhaps before Verify returns; it must not block.
	Verify(claim string, settled func(Verdict))
	// Yield asks to hand everything over to others that can take it, as for a cordoned node. What nobody else can take
	// stays, and what nobody else takes is taken even so, but last. Resume ends it. Both return at once.
	Yield()
	Resume()
	// Run elects until ctx ends, then passes or gives back all rights and returns nil. An unreachable API server is not an
	// error: it goes on trying, and rights run out meanwhile.
	Run(ctx context.Context, apply Apply) error
}
