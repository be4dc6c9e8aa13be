// Package election decides which node may hold what: [Lease] (one Kubernetes Lease for any number of claims), [Members]
// (one Lease a node, and rendezvous hashing that spreads claims over the nodes), [Always] and [Healthy] (no election).
//
// Like everything in the agent it works on whole sets. The agent tells an elector the claims that this node stands for
// (Set); the elector tells the agent, as a whole set again, which of them this node may hold now and until when (the
// function given to Run). Losing a right is its absence from the next set, or its end passing by: never a restart.
//
// All moments are on the local monotonic clock; what other nodes' clocks say is never used. That clock stands still while
// a virtual machine is paused: a right that outlived a pause is lost at the next renewal, not before.
//
// It does not change the kernel or the network, and does not know why a node should not hold a claim: endpoints, cordon
// and carrier reach it as Claim.Nodes, Yield and Set.
package election
