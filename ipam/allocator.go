// Package ipam turns pools into addresses: it parses what the ConfigMap says, and an [Allocator] remembers who has which address and
// decides who gets the next.
//
// The life of an allocator: [Allocator.SetConfig] and [Allocator.SetExclusions] say what there is, [Allocator.Replay] says once what is in
// use already, and from then on [Allocator.Ensure] reserves what a Service wishes. What is reserved is written by the caller, who then
// says [Allocator.Commit], or [Allocator.Rollback] when the write failed. [Allocator.Observe] tells of addresses that others wrote,
// [Allocator.Release] ends a Service. Each of these may be repeated.
//
// It knows neither Kubernetes nor a network: a Service is a name, a namespace, ports and wishes. It writes and logs nothing.
package ipam

import (
	"net/netip"
)

// Allocator gives addresses from pools. One mutex guards all of it; every method is safe concurrently and holds the mutex for
// O(log n) steps, save SetConfig, SetExclusions, Replay and the listings, which walk over everything.
type Allocator struct{}

// New returns an allocator without pools that waits for [Allocator.Replay].
func New() *Allocator { return &Allocator{} }

// Exclusion is a prefix of which no address is given, and whose it is: "node worker-1", "Service CIDR", "control-plane VIP".
type Exclusion struct {
	Prefix netip.Prefix
	What   string
}

// Holding is an address that a Service has.
type Holding struct {
	Addr  netip.Addr
	Owner string // "namespace/name"
	Pool  string // "" outside every pool of its namespace
}

// Conflict is an address that more Services have than may: found, never made here. All keep it, and nobody else gets it.
type Conflict struct {
	Addr   netip.Addr
	Owners []string // sorted
}

// Change is what a new configuration or new exclusions mean for those who hold and those who wait.
type Change struct {
	// Outside are the addresses that no pool of their Service's namespace has any more; they stay with the Service.
	Outside []Holding
	// Excluded are the addresses in use that are excluded by now; they stay with the Service too.
	Excluded []Holding
	// Wake are the Services that were refused and may fare better now, in the order in which they came.
	Wake []string
}

// SetConfig puts the pools of c in force; keys of c with a wrong value keep what they said before ([Config.KeepGood]).
func (a *Allocator) SetConfig(c Config) Change { return Change{} }

// Config returns the configuration in force.
func (a *Allocator) Config() Config { return Config{} }

// SetExclusions replaces what is excluded beside the key exclude and the addresses that no Service can have: loopback, multicast,
// broadcast, unspecified.
func (a *Allocator) SetExclusions(list []Exclusion) Change { return Change{} }

// Replay records what Services have already, and opens the allocator. It refuses nothing: what doesn't fit is recorded all the same and
// conflicts are returned. It is called once, with every Service; a second call panics.
func (a *Allocator) Replay(all []Existing) []Conflict { return nil }

// Observe records what the API server shows of one Service by now. It is needed for those that are not ours, and for ours
// when their status changes: an address is in use until it is neither granted nor shown.
func (a *Allocator) Observe(e Existing) (wake []string, conflicts []Conflict) { return nil, nil }

// Ensure reserves what the Service wishes: it keeps of what it has all that is still right, and reserves what is missing. What it has no
// right to any more stays reserved until Commit. The error is [ErrNotReplayed] or [Refusals]; then nothing has changed, and the Service
// waits: it is among those to wake when there is room. Asking again gives the same answer.
func (a *Allocator) Ensure(r Request) (Grant, error) { return Grant{}, ErrNotReplayed }

// Commit tells that the last grant is written: what it dropped is free. It returns the Services to try again.
func (a *Allocator) Commit(owner string) (wake []string) { return nil }

// Rollback tells that the last grant could not be written: the Service has what it had before. It returns the Services to try again.
// Where it is unknown whether the write happened, call neither and Ensure again.
func (a *Allocator) Rollback(owner string) (wake []string) { return nil }

// Release tells that the Service is gone, or no load balancer of ours any more: all it had is free, at once. It returns the Services to
// try again.
func (a *Allocator) Release(owner string) (wake []string) { return nil }

// Waiting returns the Services that were refused and not yet served, in the order in which they came.
func (a *Allocator) Waiting() []string { return nil }

// Stats returns the use of each pool, by name, then family.
func (a *Allocator) Stats() []Stats { return nil }

// Holdings returns every address in use, sorted by address, then owner.
func (a *Allocator) Holdings() []Holding { return nil }

// Holds returns the addresses that owner has, sorted.
func (a *Allocator) Holds(owner string) []netip.Addr { return nil }

// Stats is the use of one family of one pool. Excluded addresses don't count unless they are in use: Used and Free make Size.
type Stats struct {
	Pool   string
	Family Family
	Size   Count
	Used   Count
	Free   Count
	// Shared is the part of Used that more than one Service has.
	Shared int
	// DHCP tells that the pool gives 0.0.0.0 or :: to any number of Services; Used counts them.
	DHCP bool
}
