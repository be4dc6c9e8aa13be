package equinix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"daymark/ipam"
)

// vendor is what users read as the name of the place that addresses come from.
const vendor = "Equinix Metal"

// EIPOptions are the parts of [EIPs].
type EIPOptions struct {
	API API
	// Cluster is the UID of the cluster's namespace kube-system.
	Cluster string
	// Metro or Facility is where addresses are bought. When both are empty the Service says where, by the annotations MetroKey and FacilityKey.
	Metro, Facility       string
	MetroKey, FacilityKey string
	// ControlTag is the tag of the control plane's address, which no Service gets and nobody here gives back; "" for none.
	ControlTag string
	// Excluded says what an address that a user asks for belongs to, if it is no Service's to have, such as a node's; nil for nothing.
	Excluded func(netip.Addr) (what string, excluded bool)
	// May is asked before anything is bought or given back: false means that another process leads by now. Nil means always.
	May func() bool
	Log *slog.Logger
}

// EIPs are elastic addresses as the source of Services' addresses (provider.Source): one is bought for each Service and given back when the Service is
// gone. Which Service an address belongs to is in its tags at the API, nowhere else: a crash loses nothing, and nothing is bought twice. What a Service asks for by
// address is looked up among what the project owns, and never given back.
//
// It keeps what the API said and what it did since, so it calls the API once to buy and once to give back, and lists at start, when the end of a purchase isn't known, and
// every 5 minutes to find what others did and what nobody needs. After a failure that the next Service would meet as well, one call tries for all. It is
// safe for concurrent use; for one owner one call at a time.
type EIPs struct {
	EIPOptions
	ready chan struct{} // closed by Replay
	kick  chan struct{} // Run has something to do
	turn  chan struct{} // holds the right to list

	mu      sync.Mutex // guards what follows
	ledger  *ledger
	holders *holders
	living  map[string]string    // owner by service tag
	unsure  map[string]time.Time // service tags of purchases whose end isn't known, and since when
	waiting map[string]bool      // owners that were refused; true if for what a listing could change
	extra   map[string]bool      // reservations that nobody needs
	doubted map[string]bool      // reservations that the last sweep found to be nobody's
	news    bool                 // those who wait may fare better now
	api     gate
	offers  map[offer]*gate
}

// errNotLeading is when May says no.
var errNotLeading = errors.New("the right to buy and to give back has run out")

// NewEIPs returns a source that answers after Replay.
func NewEIPs(o EIPOptions) *EIPs {
	if o.Excluded == nil {
		o.Excluded = func(netip.Addr) (string, bool) { return "", false }
	}
	if o.May == nil {
		o.May = func() bool { return true }
	}
	return &EIPs{
		EIPOptions: o, ready: make(chan struct{}), kick: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		ledger: newLedger(o.Cluster, o.ControlTag), holders: newHolders(), living: map[string]string{}, unsure: map[string]time.Time{},
		waiting: map[string]bool{}, extra: map[string]bool{}, doubted: map[string]bool{}, offers: map[offer]*gate{},
	}
}

// Replay implements provider.Source. It waits for an API that is away; a token that is refused is an error.
func (e *EIPs) Replay(ctx context.Context, all []ipam.Existing) ([]ipam.Conflict, error) {
	for pause := firstAwayPause; ; pause = min(longestAwayPause, 2*pause) {
		err := e.list(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRefused) || errors.Is(err, ErrNotFound) {
			return nil, err
		}
		e.Log.Warn("the project's addresses not read; trying again", "err", err)
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, ctx.Err()
		}
	}
	e.mu.Lock()
	for _, x := range all {
		e.living[serviceTag(x.Owner)] = x.Owner
		e.holders.set(x.Owner, holding{given: slices.Clone(x.Addrs), shown: slices.Concat(x.Addrs, x.Shown)})
	}
	found := map[netip.Addr]ipam.Conflict{}
	for _, x := range all {
		for _, c := range e.conflictsLocked(x.Owner) {
			found[c.Addr] = c
		}
	}
	for _, r := range e.ledger.bought() {
		if e.needlessLocked(r) {
			e.extra[r.ID] = true
		}
	}
	for _, x := range all {
		e.replacedLocked(x.Owner, x.Requested)
	}
	e.mu.Unlock()
	close(e.ready)
	return sorted(found), nil
}

func sorted(found map[netip.Addr]ipam.Conflict) []ipam.Conflict {
	var out []ipam.Conflict
	for _, c := range found {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b ipam.Conflict) int { return a.Addr.Compare(b.Addr) })
	return out
}

// conflictsLocked returns the addresses that the owner has beside another one, or that no Service may have.
func (e *EIPs) conflictsLocked(owner string) []ipam.Conflict {
	var out []ipam.Conflict
	seen := map[netip.Addr]bool{}
	for _, addr := range e.holders.of[owner].all() {
		if seen[addr] {
			continue
		}
		seen[addr] = true
		by, _ := e.excludedLocked(addr)
		if owners := e.holders.at[addr]; len(owners) > 1 || by != "" {
			out = append(out, ipam.Conflict{Addr: addr, Owners: slices.Clone(owners), By: by})
		}
	}
	return out
}

// Observe implements provider.Source.
func (e *EIPs) Observe(x ipam.Existing) ([]string, []ipam.Conflict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.living[serviceTag(x.Owner)] = x.Owner
	delete(e.waiting, x.Owner) // who is served asks next; who isn't any more, waits for nothing
	now := e.holders.of[x.Owner]
	now.shown = slices.Concat(x.Addrs, x.Shown)
	wake := e.setLocked(x.Owner, now)
	return wake, e.conflictsLocked(x.Owner)
}

// setLocked makes the owner's holding so, and returns whom to wake for that.
func (e *EIPs) setLocked(owner string, now holding) (wake []string) {
	if !e.holders.set(owner, now) {
		return nil
	}
	if len(e.extra) > 0 {
		e.kickLocked()
	}
	return e.waitingLocked()
}

func (e *EIPs) waitingLocked() []string {
	var out []string
	for owner := range e.waiting {
		out = append(out, owner)
	}
	slices.Sort(out)
	return out
}

func (e *EIPs) kickLocked() {
	select {
	case e.kick <- struct{}{}:
	default: // kicked already
	}
}

// Ensure implements provider.Source: the requested addresses if the project owns them, else the one with the Service's tags, else a new one.
func (e *EIPs) Ensure(ctx context.Context, r ipam.Request, svc *corev1.Service) (ipam.Grant, error) {
	grant, err := e.ensure(ctx, r, svc)
	var refusals ipam.Refusals
	e.mu.Lock()
	defer e.mu.Unlock()
	if delete(e.waiting, r.Owner); errors.As(err, &refusals) {
		e.waiting[r.Owner] = slices.ContainsFunc(refusals, func(no ipam.Refusal) bool { return no.Reason == ipam.NotInPool })
		e.kickLocked() // for when to try again
	}
	return grant, err
}

func (e *EIPs) ensure(ctx context.Context, r ipam.Request, svc *corev1.Service) (ipam.Grant, error) {
	e.mu.Lock()
	e.living[serviceTag(r.Owner)] = r.Owner
	e.mu.Unlock()
	if len(r.Requested) > 0 {
		return e.requested(r)
	}
	missing, final := families(r)
	if final {
		return ipam.Grant{}, missing
	}
	what, err := e.offerOf(svc)
	if err != nil {
		return ipam.Grant{}, unavailable(err.Error())
	}
	if err := e.settle(ctx, serviceTag(r.Owner)); err != nil {
		return ipam.Grant{}, err
	}
	bought, have, err := e.find(r.Owner)
	if err == nil && !have {
		bought, err = e.buy(ctx, r.Owner, what)
	}
	if err != nil {
		return ipam.Grant{}, err
	}
	grant := ipam.Grant{Addrs: []ipam.Assigned{{Addr: bought.Prefix.Addr(), Pool: fmt.Sprintf("%s (%s)", vendor, offer{bought.Kind, bought.Metro, ""})}}, Missing: missing}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.grantLocked(r.Owner, &grant)
	return grant, nil
}

func unavailable(why string) ipam.Refusals {
	return ipam.Refusals{{Reason: ipam.Unavailable, Detail: why}}
}

// grantLocked notes that the owner is being given what the grant says, and completes it.
func (e *EIPs) grantLocked(owner string, grant *ipam.Grant) {
	h := e.holders.of[owner]
	h.given = union(h.given, h.next) // an earlier grant of which nobody knows whether it was written
	h.next = grant.List()
	for i := range grant.Addrs {
		grant.Addrs[i].New = !slices.Contains(h.given, grant.Addrs[i].Addr)
	}
	for _, addr := range h.given {
		if !slices.Contains(h.next, addr) {
			grant.Dropped = append(grant.Dropped, addr)
		}
	}
	e.holders.set(owner, h)
}

func union(a, b []netip.Addr) []netip.Addr {
	out := slices.Concat(a, b)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// Commit implements provider.Source. What was bought for the owner and it has no more is given back, once nothing shows it.
func (e *EIPs) Commit(owner string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.holders.of[owner]
	if h.next != nil {
		h.given, h.next = h.next, nil
	}
	wake := e.setLocked(owner, h)
	e.replacedLocked(owner, h.given)
	return wake
}

// replacedLocked notes what was bought for an owner that has something else.
func (e *EIPs) replacedLocked(owner string, has []netip.Addr) {
	if len(has) == 0 {
		return
	}
	for _, r := range e.ledger.of(serviceTag(owner)) {
		if !slices.Contains(has, r.Prefix.Addr()) {
			e.extra[r.ID] = true
			e.kickLocked()
		}
	}
}

// Rollback implements provider.Source. What was bought stays bought, and tagged: the next Ensure finds it.
func (e *EIPs) Rollback(owner string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.holders.of[owner]
	h.next = nil
	return e.setLocked(owner, h)
}

// Release implements provider.Source: it gives back what was bought for the owner, and only that.
func (e *EIPs) Release(ctx context.Context, owner string) ([]string, error) {
	tag := serviceTag(owner)
	if err := e.settle(ctx, tag); err != nil {
		return nil, err
	}
	e.mu.Lock()
	var mine []string
	for _, r := range e.ledger.of(tag) {
		if e.holders.other(owner, r.Prefix.Addr()) == "" { // else it stays until nobody uses it
			mine = append(mine, r.ID)
		}
	}
	e.mu.Unlock()
	for _, id := range mine {
		if err := e.giveBack(ctx, id); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.living, tag)
	delete(e.waiting, owner)
	return e.setLocked(owner, holding{}), nil
}

// Link implements provider.Source: the agent's default.
func (e *EIPs) Link(string) string { return "" }
