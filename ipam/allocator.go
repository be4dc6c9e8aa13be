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
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// Allocator gives addresses from pools. One mutex guards all of it; every method is safe concurrently and takes O(log n) steps, save
// SetConfig, SetExclusions, Replay and the listings, which walk over everything.
type Allocator struct {
	mu       sync.Mutex
	replayed bool
	config   Config
	listed   []Exclusion // by SetExclusions
	excluded exclusions  // all of them
	v4, v6   *space
	allowed  map[string]choice // by namespace, as far as asked
	records  map[string]*record
	held     map[string]int // addresses by namespace
	waiting  map[string]*record
	clock    uint64          // orders those who wait
	single   map[Port][]Port // lists of one port, which most Services have
	spare    []*record
	gained   gain
}

// New returns an allocator without pools that waits for [Allocator.Replay].
func New() *Allocator {
	a := &Allocator{records: map[string]*record{}, waiting: map[string]*record{}, single: map[Port][]Port{}}
	a.excluded = newExclusions(reserved())
	a.rebuildLocked()
	return a
}

// Holding is an address that a Service has.
type Holding struct {
	Addr  netip.Addr
	Owner string // "namespace/name"
	// Pool is the pool of the Service's namespace that has the address; "" if none has.
	Pool string
	// By is what an excluded address belongs to; "" if it is not excluded.
	By string
}

// Conflict is an address that more Services have than may, or that is excluded: found, never made here. All keep it, and nobody else
// gets it.
type Conflict struct {
	Addr   netip.Addr
	Owners []string // sorted
	By     string   // what an excluded address belongs to
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

// SetConfig puts the pools of c in force; keys of c with a wrong value keep what they said before ([Config.KeepGood]). It does nothing
// when that is what is in force already.
func (a *Allocator) SetConfig(c Config) Change {
	a.mu.Lock()
	defer a.mu.Unlock()
	c = c.KeepGood(a.config)
	if same := maps.Equal(c.Data(), a.config.Data()); same {
		a.config = c
		return Change{}
	}
	inside := a.insideLocked()
	before := a.excluded
	a.config = c
	a.excluded = newExclusions(reserved(), a.config.excludeKey(), a.listed)
	a.rebuildLocked()
	var change Change
	for _, h := range inside {
		r := a.records[h.Owner]
		asked := h.Addr.IsUnspecified() && r.hold(h.Addr).requested // a user may ask for DHCP whatever the pools say
		if !asked && a.poolLocked(r, h.Addr) == nil {
			h.Pool = ""
			change.Outside = append(change.Outside, h)
		}
	}
	change.Excluded = a.newlyExcludedLocked(before)
	change.Wake = a.everyoneLocked()
	return change
}

// Config returns the configuration in force.
func (a *Allocator) Config() Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

// SetExclusions replaces what is excluded beside the key exclude and the addresses that no Service can have: loopback, multicast,
// broadcast, unspecified. Prefixes that aren't valid are left out.
func (a *Allocator) SetExclusions(list []Exclusion) Change {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.excluded
	a.listed = slices.Clone(list)
	a.excluded = newExclusions(reserved(), a.config.excludeKey(), a.listed)
	added, removed := a.excluded.without(before), before.without(a.excluded)
	if slices.ContainsFunc(slices.Concat(added, removed), a.touchesLocked) {
		a.rebuildLocked()
	}
	var change Change
	if len(added) > 0 {
		change.Excluded = a.newlyExcludedLocked(before)
	}
	if len(removed) > 0 {
		change.Wake = a.everyoneLocked()
	}
	return change
}

// touchesLocked reports whether a pool has some of prefix.
func (a *Allocator) touchesLocked(prefix netip.Prefix) bool {
	return len(a.space(prefix.Addr()).meeting(spanOf(prefix))) > 0
}

// rebuildLocked makes the spaces anew from configuration, exclusions and records.
func (a *Allocator) rebuildLocked() {
	a.v4, a.v6 = newSpace(IPv4, a.config, a.excluded), newSpace(IPv6, a.config, a.excluded)
	a.allowed = map[string]choice{}
	a.held = map[string]int{}
	for _, r := range a.records {
		r.lent = false
		for i := range r.holds {
			a.enterLocked(r, &r.holds[i])
		}
	}
}

// enterLocked makes r a holder of h's address.
func (a *Allocator) enterLocked(r *record, h *hold) {
	if h.addr.IsUnspecified() {
		return
	}
	s := a.space(h.addr)
	if !s.holds(h.addr, r.namespace, nil) {
		a.held[r.namespace]++
	}
	h.ports, h.shares = r.ports, a.sharesLocked(r, h)
	_, excluded := a.excluded.find(h.addr)
	s.enter(r, h, excluded)
}

// leaveLocked takes h's address from r.
func (a *Allocator) leaveLocked(r *record, h *hold) {
	addr := h.addr
	if !addr.IsUnspecified() {
		s := a.space(addr)
		free := s.leave(r, h)
		lighter := ""
		if free || !s.holds(addr, r.namespace, nil) {
			lighter = r.namespace
			if a.held[lighter]--; a.held[lighter] == 0 {
				delete(a.held, lighter)
			}
		}
		a.gainLocked(addr, lighter)
	}
	r.drop(addr)
}

// restateLocked lets h claim what is now true of it.
func (a *Allocator) restateLocked(r *record, h *hold) {
	shares := a.sharesLocked(r, h)
	if h.addr.IsUnspecified() || shares == h.shares && slices.Equal(h.ports, r.ports) {
		return
	}
	room := shares && !h.shares || len(beyond(h.ports, r.ports)) > 0
	a.space(h.addr).restate(h, r.ports, shares)
	if room {
		a.gainLocked(h.addr, "")
	}
}

// sharesLocked reports whether others may join r at h's address.
func (a *Allocator) sharesLocked(r *record, h *hold) bool {
	return h.given && !h.leaving && !h.clash && len(r.ports) > 0 && a.config.Shares(r.namespace)
}

// recordLocked returns the record of owner, new if need be.
func (a *Allocator) recordLocked(owner, namespace string) *record {
	r := a.records[owner]
	if r == nil {
		if n := len(a.spare); n > 0 {
			r, a.spare = a.spare[n-1], a.spare[:n-1]
		} else {
			r = &record{}
		}
		*r = record{owner: owner, namespace: namespace}
		r.holds = r.room[:0]
		a.records[owner] = r
	}
	return r
}

// forgetLocked removes r, which has nothing. Its memory, warm still, serves the next that comes.
func (a *Allocator) forgetLocked(r *record) {
	delete(a.records, r.owner)
	if !r.lent && len(a.spare) < 64 {
		a.spare = append(a.spare, r)
	}
}

// portsLocked returns ports sorted, each once, in memory that nobody changes.
func (a *Allocator) portsLocked(ports []Port) []Port {
	if len(ports) != 1 {
		return sortPorts(ports)
	}
	list := a.single[ports[0]]
	if list == nil {
		list = slices.Clone(ports)
		a.single[ports[0]] = list
	}
	return list
}

// tidyLocked forgets r if there is nothing to remember.
func (a *Allocator) tidyLocked(r *record) {
	if len(r.holds) == 0 && r.wait == nil {
		a.forgetLocked(r)
	}
}

// choice is what a namespace may use, the pool to be used first in front.
type choice struct {
	names  []string
	v4, v6 []*pool
}

// choiceLocked returns what namespace may use.
func (a *Allocator) choiceLocked(namespace string) choice {
	c, ok := a.allowed[namespace]
	if !ok {
		c.names = a.config.PoolsOf(namespace)
		for _, name := range c.names {
			c.v4, c.v6 = append(c.v4, a.v4.pools[name]), append(c.v6, a.v6.pools[name])
		}
		a.allowed[namespace] = c
	}
	return c
}

// of returns the pools of family.
func (c choice) of(family Family) []*pool {
	if family == IPv4 {
		return c.v4
	}
	return c.v6
}

// poolLocked returns the pool of r's namespace that has addr, or nil.
func (a *Allocator) poolLocked(r *record, addr netip.Addr) *pool {
	for _, p := range a.choiceLocked(r.namespace).of(FamilyOf(addr)) {
		if p.extent.has(number(addr)) || p.dhcp && addr.IsUnspecified() {
			return p
		}
	}
	return nil
}

// space returns the family that addr is of.
func (a *Allocator) space(addr netip.Addr) *space {
	if addr.Is4() {
		return a.v4
	}
	return a.v6
}

// insideLocked returns the addresses that are in a pool of their Service's namespace, in order.
func (a *Allocator) insideLocked() []Holding {
	return slices.DeleteFunc(a.holdingsLocked(), func(h Holding) bool { return h.Pool == "" })
}

// newlyExcludedLocked returns the addresses in use that before left alone, in order.
func (a *Allocator) newlyExcludedLocked(before exclusions) []Holding {
	return slices.DeleteFunc(a.holdingsLocked(), func(h Holding) bool {
		_, was := before.find(h.Addr)
		return h.By == "" || was
	})
}

func (a *Allocator) holdingsLocked() []Holding {
	var out []Holding
	for _, r := range a.records {
		for _, h := range r.holds {
			one := Holding{Addr: h.addr, Owner: r.owner}
			if p := a.poolLocked(r, h.addr); p != nil {
				one.Pool = p.name
			}
			if !h.addr.IsUnspecified() {
				one.By, _ = a.excluded.find(h.addr)
			}
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b Holding) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Owner, b.Owner)) })
	return out
}
