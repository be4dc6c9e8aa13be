package equinix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"daymark/ipam"
)

// EIPType is the annotation by which a user chooses what kind of address is bought for a Service: "public_ipv4" (the default) or
// "private_ipv4". A Service that has its address keeps it.
const EIPType = "metal.equinix.com/eip-type"

// Annotations by which a Service says where its address is bought, unless the configuration does; those of the Equinix CCM.
const (
	EIPMetro    = "metal.equinix.com/eip-metro"
	EIPFacility = "metal.equinix.com/eip-facility"
)

// EIPs are elastic addresses as the source of Services' addresses: one is bought for each Service and given back when the Service is
// gone. Which Service an address belongs to is in its tags at the API, nowhere else: a crash loses nothing, and nothing is bought twice.
//
// It keeps what the API said and what it did since, so it calls the API to buy and to give back, and lists only at start and when the end
// of a purchase isn't known. It is safe for concurrent use; for one owner one call at a time.
type EIPs struct {
	api     API
	cluster string
	metro   string
	log     *slog.Logger

	mu      sync.Mutex             // guards what follows
	owned   map[string]Reservation // all of the project, by ID
	byOwner map[string]string      // reservation ID by service tag
	unsure  map[string]bool        // service tags of purchases whose end isn't known
	users   map[netip.Addr]string  // owner of each address in use
}

// NewEIPs returns a source for the cluster with that UID of its namespace kube-system, which buys in that metro.
func NewEIPs(api API, cluster, metro string, log *slog.Logger) *EIPs {
	return &EIPs{
		api: api, cluster: cluster, metro: metro, log: log,
		byOwner: map[string]string{}, unsure: map[string]bool{}, users: map[netip.Addr]string{},
	}
}

// Run implements provider.Source. The API tells nothing by itself; who was refused asks again with back-off.
func (e *EIPs) Run(ctx context.Context, _ func(owners ...string)) error {
	<-ctx.Done()
	return nil
}

// Replay implements provider.Source: it reads what the project owns and gives back what belongs to Services that are no more.
func (e *EIPs) Replay(ctx context.Context, all []ipam.Existing) ([]ipam.Conflict, error) {
	if err := e.list(ctx); err != nil {
		return nil, err
	}
	living := map[string]bool{}
	for _, x := range all {
		living[serviceTag(x.Owner)] = true
		e.Observe(x)
	}
	for _, r := range e.orphans(living) {
		e.log.Info("releasing the address of a deleted service", "addr", r.Prefix.Addr(), "reservation", r.ID)
		if err := e.giveBack(ctx, r); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (e *EIPs) list(ctx context.Context) error {
	all, err := e.api.Reservations(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b Reservation) int { return cmp.Compare(a.ID, b.ID) })
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owned = map[string]Reservation{}
	clear(e.byOwner)
	for _, r := range all {
		e.rememberLocked(r)
	}
	return nil
}

// rememberLocked lets the first of several reservations of a Service be its address; the others are orphans of a lost answer.
func (e *EIPs) rememberLocked(r Reservation) {
	e.owned[r.ID] = r
	if !ours(r, e.cluster) {
		return
	}
	for _, tag := range r.Tags {
		if _, taken := e.byOwner[tag]; !taken && len(tag) > len(serviceTagKey) && tag[:len(serviceTagKey)] == serviceTagKey {
			e.byOwner[tag] = r.ID
		}
	}
}

func (e *EIPs) orphans(living map[string]bool) []Reservation {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Reservation
	for _, r := range e.owned {
		if ours(r, e.cluster) && !slices.ContainsFunc(r.Tags, func(tag string) bool { return living[tag] && e.byOwner[tag] == r.ID }) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Reservation) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Observe implements provider.Source.
func (e *EIPs) Observe(x ipam.Existing) ([]string, []ipam.Conflict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgetLocked(x.Owner)
	var conflicts []ipam.Conflict
	for _, addr := range slices.Concat(x.Addrs, x.Shown) {
		if other, taken := e.users[addr]; taken && other != x.Owner {
			owners := []string{other, x.Owner}
			slices.Sort(owners)
			conflicts = append(conflicts, ipam.Conflict{Addr: addr, Owners: owners})
			continue
		}
		e.users[addr] = x.Owner
	}
	return nil, conflicts
}

func (e *EIPs) forgetLocked(owner string) {
	for addr, user := range e.users {
		if user == owner {
			delete(e.users, addr)
		}
	}
}

// Ensure implements provider.Source: the requested addresses if the project owns them, else the one with the Service's tags, else a new one.
func (e *EIPs) Ensure(ctx context.Context, r ipam.Request, svc *corev1.Service) (ipam.Grant, error) {
	if len(r.Requested) > 0 {
		return e.requested(r)
	}
	if r.Policy == ipam.RequireDualStack || len(r.Families) > 0 && r.Families[0] == ipam.IPv6 {
		return ipam.Grant{}, ipam.Refusals{{Reason: ipam.WrongFamily, Family: ipam.IPv6, Pools: []string{"equinix"}}}
	}
	kind, err := kindOf(svc)
	if err != nil {
		return ipam.Grant{}, err
	}
	tag := serviceTag(r.Owner)
	if e.isUnsure(tag) {
		if err := e.list(ctx); err != nil {
			return ipam.Grant{}, err
		}
		e.setUnsure(tag, false)
	}
	if have, ok := e.find(tag); ok {
		return e.grant(r.Owner, have, false), nil
	}
	e.setUnsure(tag, true)
	bought, err := e.api.Reserve(ctx, ReserveRequest{
		Kind: kind, Metro: e.metro, Tags: Tags(r.Owner, e.cluster), Details: "Kubernetes Service",
	})
	if err != nil {
		if errors.Is(err, ErrRefused) || errors.Is(err, ErrUnauthorized) {
			e.setUnsure(tag, false) // certainly not bought
		}
		return ipam.Grant{}, err
	}
	e.mu.Lock()
	e.rememberLocked(bought)
	delete(e.unsure, tag)
	e.mu.Unlock()
	return e.grant(r.Owner, bought, true), nil
}

func kindOf(svc *corev1.Service) (Kind, error) {
	switch kind := Kind(svc.Annotations[EIPType]); kind {
	case "", PublicIPv4:
		return PublicIPv4, nil
	case PrivateIPv4:
		return kind, nil
	default:
		return "", fmt.Errorf("annotation %s=%q: use %s or %s", EIPType, kind, PublicIPv4, PrivateIPv4)
	}
}

func (e *EIPs) isUnsure(tag string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unsure[tag]
}

func (e *EIPs) setUnsure(tag string, unsure bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unsure[tag] = unsure; !unsure {
		delete(e.unsure, tag)
	}
}

func (e *EIPs) find(tag string) (Reservation, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.owned[e.byOwner[tag]]
	return r, ok
}

func (e *EIPs) grant(owner string, r Reservation, bought bool) ipam.Grant {
	e.mu.Lock()
	defer e.mu.Unlock()
	addr := r.Prefix.Addr()
	isNew := bought || e.users[addr] != owner
	e.users[addr] = owner
	return ipam.Grant{Addrs: []ipam.Assigned{{Addr: addr, New: isNew}}}
}

// requested gives addresses that the user named: the project must own them, and no other Service have them.
func (e *EIPs) requested(r ipam.Request) (ipam.Grant, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var grant ipam.Grant
	var refused ipam.Refusals
	for _, addr := range r.Requested {
		no := ipam.Refusal{Addr: addr, Family: ipam.FamilyOf(addr), Pools: []string{"equinix"}}
		res, owned := e.containingLocked(addr)
		user, used := e.users[addr]
		tagged := owned && ours(res, e.cluster) && !slices.Contains(res.Tags, serviceTag(r.Owner))
		switch {
		case !owned:
			no.Reason = ipam.NotInPool
			refused = append(refused, no)
		case used && user != r.Owner:
			no.Reason, no.By = ipam.Taken, user
			refused = append(refused, no)
		case tagged:
			no.Reason, no.By = ipam.Taken, "another Service, by its tags"
			refused = append(refused, no)
		default:
			grant.Addrs = append(grant.Addrs, ipam.Assigned{Addr: addr, Requested: true, New: !used})
		}
	}
	if len(refused) > 0 {
		return ipam.Grant{}, refused
	}
	for _, a := range grant.Addrs {
		e.users[a.Addr] = r.Owner
	}
	return grant, nil
}

func (e *EIPs) containingLocked(addr netip.Addr) (Reservation, bool) {
	for _, r := range e.owned {
		if r.Prefix.Contains(addr) {
			return r, true
		}
	}
	return Reservation{}, false
}

// Commit implements provider.Source.
func (e *EIPs) Commit(string) []string { return nil }

// Rollback implements provider.Source. What was bought stays bought, and tagged: the next Ensure finds it.
func (e *EIPs) Rollback(string) []string { return nil }

// Release implements provider.Source: it gives back what was bought for the owner, and only that.
func (e *EIPs) Release(ctx context.Context, owner string) ([]string, error) {
	tag := serviceTag(owner)
	if e.isUnsure(tag) {
		if err := e.list(ctx); err != nil {
			return nil, err
		}
		e.setUnsure(tag, false)
	}
	e.mu.Lock()
	e.forgetLocked(owner)
	var mine []Reservation
	for _, r := range e.owned {
		if ours(r, e.cluster) && slices.Contains(r.Tags, tag) {
			mine = append(mine, r)
		}
	}
	e.mu.Unlock()
	for _, r := range mine {
		if err := e.giveBack(ctx, r); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// giveBack ends the assignments of a reservation and releases it; every step may be repeated.
func (e *EIPs) giveBack(ctx context.Context, r Reservation) error {
	for _, a := range r.Assignments {
		if err := e.api.Unassign(ctx, a.ID); err != nil {
			return err
		}
	}
	if err := e.api.Release(ctx, r.ID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.owned, r.ID)
	for tag, id := range e.byOwner {
		if id == r.ID {
			delete(e.byOwner, tag)
		}
	}
	return nil
}

// Link implements provider.Source: the agent's default.
func (e *EIPs) Link(string) string { return "" }
