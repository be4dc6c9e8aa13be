// Package election decides which node may hold what: Lease (one Kubernetes Lease for any number of claims), Members (one
// Lease a node, and rendezvous hashing that spreads claims over the nodes), Always and Healthy (no election).
//
// Like everything in the agent it works on whole sets. The agent tells an elector the claims that this node stands for
// (Set); the elector tells the agent, as a whole set again, which of them this node may hold now and until when (the
// function given to Run). Losing a right is its absence from the next set, or its end passing by: never a restart.
//
// All moments are on the local monotonic clock; what other nodes' clocks say is never used.
package election

import (
	"context"
	"time"
)

// Claim is something of which at most one node may be the holder: a group of addresses that belong together.
type Claim struct {
	// Name is equal on every node for the same claim: the group's lowest address, or a name chosen by the user.
	Name string
	// Nodes are the nodes that may hold it, as this node sees it, sorted; nil means every candidate.
	Nodes []string
}

// Right is this node's permission to hold one claim.
type Right struct {
	Claim string
	// Until is when the right ends unless it is renewed before; zero means that it has no end.
	Until time.Time
	// Passing means that the right now belongs to a successor: announce nothing any more, but go on answering until the
	// successor is heard ([Elector] Heard) or Until, so that no packet is lost.
	Passing bool
	// Failover means that the right was taken from a holder that stopped renewing, so the address can't be probed for.
	Failover bool
}

// Apply makes rights true. It gets the complete set; it returns nil only once everything that is not in the set any more
// is withdrawn and removed. It is called by one goroutine at a time, always with the newest set, and never
// delays a renewal. An elector gives a right back to others only after Apply returned nil for a set without it.
type Apply func(ctx context.Context, rights []Right) error

// Elector is what every implementation in this package offers. The agent declares what it needs of it by itself.
type Elector interface {
	// Set replaces the claims that this node stands for. It returns at once; safe for concurrent use, also before Run.
	Set(claims []Claim)
	// Heard says that the successor of a passed claim was heard announcing it, so that it can be let go of at once.
	Heard(claim string)
	// Run elects until ctx ends, then passes or gives back all rights and returns nil. An unreachable API server is not an
	// error: it goes on trying, and rights run out meanwhile.
	Run(ctx context.Context, apply Apply) error
}
