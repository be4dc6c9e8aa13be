// Package agent is one node's reconciler: it turns what Kubernetes says (Services, EndpointSlices, Nodes) and what the
// configuration says (the control plane's address) into the set of addresses that this node holds, and tells users what
// became of them.
//
// It decides from objects what this node stands for (desired.go), which addresses belong together (group.go), and in which
// order kernel and network are told (holder.go). Who may hold is decided by package election; how an address gets on a
// link, on the wire or into a routing table is the business of the rooms behind the interfaces below, which cmd/vip wires.
package agent

import (
	"context"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// Datapath puts addresses on links.
type Datapath interface {
	// Set makes the addresses that are ours on this node exactly want: it adds before it removes and touches nothing that
	// is not ours. After an error Held tells what came of it.
	Set(ctx context.Context, want []vip.Address) error
	// Held returns what is ours in the kernel, what a former run left and nobody wanted since included.
	Held() []vip.Address
	// Adopted returns what a former run left and nobody wanted since. Set does not remove it.
	Adopted() []vip.Address
	// Sweep removes what Adopted returns, now and from now on, save what will end by itself.
	Sweep(ctx context.Context) error
}

// Announcer leads traffic for addresses to this node: ARP and NDP, BGP, a routing table, WireGuard.
type Announcer interface {
	// Set announces exactly want, and withdraws what left it. It remembers the set and keeps it announced.
	Set(ctx context.Context, want []vip.Address) error
}

// Prober asks the network whether somebody else uses an address that this node is about to take for the first time
// (RFC 5227, 2.1.1; RFC 4862, 5.4). It returns nil when nobody answered, an error that says who did, or ctx's error. It is
// safe for concurrent use.
type Prober interface {
	Probe(ctx context.Context, key vip.Key) error
}

// Said is what another host did with an address.
type Said string

const (
	// Announced is any use of the address: an announcement, an answer, or a question asked from it.
	Announced Said = "announced"
	// Misused is such a use by a host that is certainly no member, and thus no successor.
	Misused Said = "misused"
	// Probed is the question whether the address is free.
	Probed Said = "probed for"
)

// Listener hears what other hosts say of an address, from the moment that Listen returns until stop is called. It may lose
// what follows closely on something else, as announcements are repeated.
type Listener interface {
	Listen(key vip.Key) (heard <-chan Said, stop func(), err error)
}

// Elector decides which of the claims that this node stands for it may hold; see [election.Elector].
type Elector interface {
	Set(claims []election.Claim)
	Heard(claim string)
	Verify(claim string, settled func(election.Verdict))
	Yield()
	Resume()
	Run(ctx context.Context, apply election.Apply) error
}
