package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// plan is how a request can be met; making it changes nothing.
type plan struct {
	allocator *Allocator
	rec       *record
	request   Request

	take     []taking // what the Service shall have
	refusals Refusals // why the request can't be met
	missing  Refusals // what it does without
	balance  int      // what the namespace holds more, or less, when the plan is done
}

// taking is an address that the Service shall have.
type taking struct {
	addr      netip.Addr
	requested bool
}

// make plans: what the user asked for, what of the rest the Service has already, and then what is missing.
func (p *plan) make() {
	for _, addr := range usable(p.request.Requested) {
		if refusal := p.refuse(addr); refusal != nil {
			p.refusals = append(p.refusals, *refusal)
			continue
		}
		p.take = append(p.take, taking{addr, true})
	}
	if len(p.refusals) > 0 {
		return
	}
	var lacking []Family
	for _, f := range p.families() {
		if addr, ok := p.keep(f); ok {
			p.take = append(p.take, taking{addr, false})
		} else {
			lacking = append(lacking, f)
		}
	}
	if p.payForTaken(); len(p.refusals) > 0 {
		return
	}
	p.fill(lacking)
	if len(p.request.Families) > 0 {
		slices.SortStableFunc(p.take, func(a, b taking) int { return cmp.Compare(p.rank(a.addr), p.rank(b.addr)) })
	}
}

// rank is 0 for the primary family, and 1.
func (p *plan) rank(addr netip.Addr) int {
	if FamilyOf(addr) == p.request.Families[0] {
		return 0
	}
	return 1
}

// either reports whether one address of whichever family will do.
func (p *plan) either() bool { return p.request.Policy == SingleStack && len(p.request.Families) == 0 }

// families returns those that the user's addresses leave to the pools, the primary one first.
func (p *plan) families() []Family {
	both := []Family{IPv4, IPv6}
	switch {
	case p.request.Policy == SingleStack && len(p.take) > 0:
		return nil
	case p.either():
		if _, ok := p.keep(IPv6); ok {
			if _, ok := p.keep(IPv4); !ok {
				return []Family{IPv6}
			}
			return []Family{IPv4}
		}
		if _, ok := p.keep(IPv4); ok {
			return []Family{IPv4}
		}
		return both
	case p.request.Policy == SingleStack:
		return p.request.Families[:1]
	}
	if len(p.request.Families) > 0 && p.request.Families[0] == IPv6 {
		slices.Reverse(both)
	}
	return slices.DeleteFunc(both, func(f Family) bool {
		return slices.ContainsFunc(p.take, func(t taking) bool { return FamilyOf(t.addr) == f })
	})
}

// refuse returns why the Service can't have the address that its user asked for.
func (p *plan) refuse(addr netip.Addr) *Refusal {
	a, f := p.allocator, FamilyOf(addr)
	r := &Refusal{Addr: addr, Family: f, Pools: a.choiceLocked(p.rec.namespace).names}
	if !p.accepts(f) {
		r.Reason = WrongFamily
		return r
	}
	h := p.rec.hold(addr)
	if addr.IsUnspecified() || h != nil && h.given && !h.clash {
		return nil
	}
	if by, ok := a.excluded.find(addr); ok {
		r.Reason, r.By = Excluded, by
		return r
	}
	if !a.config.AllowOutsidePools && a.poolLocked(p.rec, addr) == nil {
		r.Reason = NotInPool
		return r
	}
	shares := a.config.Shares(p.rec.namespace)
	other, port := a.space(addr).obstacle(addr, p.rec, p.rec.ports, shares)
	if other == nil {
		return nil
	}
	r.Reason, r.By = Taken, other.owner
	if shares && port != (Port{}) {
		r.Detail = "both use " + port.String()
	}
	return r
}

// accepts reports whether the user may ask for addresses of f.
func (p *plan) accepts(f Family) bool {
	switch {
	case p.request.Policy != SingleStack:
		return true
	case len(p.request.Families) > 0:
		return f == p.request.Families[0]
	}
	return len(p.take) == 0 || f == FamilyOf(p.take[0].addr)
}

// keep returns the address of f that the Service has and should go on to have.
func (p *plan) keep(f Family) (netip.Addr, bool) {
	best, order := netip.Addr{}, 3
	for i := range p.rec.holds {
		h := &p.rec.holds[i]
		if FamilyOf(h.addr) != f || !p.right(h) {
			continue
		}
		rank := 2
		switch {
		case h.given && !h.leaving:
			rank = 0
		case h.given:
			rank = 1
		}
		if rank < order {
			best, order = h.addr, rank
		}
	}
	return best, order < 3
}

// right reports whether the Service may keep h without having asked for it. What was given from a pool that has since changed, or to an
// address that has since been excluded, stays.
func (p *plan) right(h *hold) bool {
	a := p.allocator
	switch inPool := a.poolLocked(p.rec, h.addr) != nil; {
	case h.given:
		return !h.clash && (inPool || !h.requested)
	case !inPool || h.addr.IsUnspecified():
		return false
	}
	if _, excluded := a.excluded.find(h.addr); excluded {
		return false
	}
	other, _ := a.space(h.addr).obstacle(h.addr, p.rec, p.rec.ports, false)
	return other == nil
}

// fill takes addresses of the lacking families from the pools.
func (p *plan) fill(lacking []Family) {
	var refused Refusals
	for _, f := range lacking {
		addr, refusal := p.choose(f)
		if refusal == nil {
			refusal = p.pay(addr)
		}
		if refusal != nil {
			refused = append(refused, *refusal)
			continue
		}
		p.take = append(p.take, taking{addr, false})
		if p.either() {
			return
		}
	}
	if p.either() {
		refused = anyFamily(refused)
	}
	refused = slices.CompactFunc(refused, func(a, b Refusal) bool { return a.Error() == b.Error() })
	if p.request.Policy == PreferDualStack && len(p.take) > 0 {
		p.missing = refused
		return
	}
	p.refusals = refused
}

// anyFamily returns why there is no address of either family: a family that the pools don't have is no reason unless they have none.
func anyFamily(refused Refusals) Refusals {
	rest := slices.DeleteFunc(slices.Clone(refused), func(r Refusal) bool { return r.Reason == WrongFamily })
	if len(rest) == 0 && len(refused) > 0 {
		return Refusals{{Reason: Exhausted, Pools: refused[0].Pools, Detail: "0 of 0 used"}}
	}
	return rest
}

// choose returns the address of f that the pools give next: one to share if the Service may and there is one.
func (p *plan) choose(f Family) (netip.Addr, *Refusal) {
	a := p.allocator
	pools := a.choiceLocked(p.rec.namespace)
	shares := a.config.Shares(p.rec.namespace) && len(p.rec.ports) > 0
	for _, from := range pools.of(f) {
		if from.dhcp {
			return unspecified(f), nil
		}
		if shares {
			if x, ok := from.nextShared(a.config.Order, p.rec.ports); ok {
				return x.addr(f), nil
			}
		}
		if x, ok := from.nextFree(a.config.Order); ok {
			return x.addr(f), nil
		}
	}
	return netip.Addr{}, pools.exhausted(f)
}

// exhausted returns why there is nothing to give of f.
func (c choice) exhausted(f Family) *Refusal {
	var use []string
	for _, p := range c.of(f) {
		if !p.empty() {
			use = append(use, fmt.Sprintf("%d of %s used", p.used, p.size()))
		}
	}
	r := &Refusal{Reason: Exhausted, Family: f, Pools: c.names, Detail: strings.Join(use, ", ")}
	switch {
	case len(c.names) == 0:
		r.Reason = NoPool
	case len(use) == 0:
		r.Reason = WrongFamily
	}
	return r
}

func unspecified(f Family) netip.Addr {
	if f == IPv4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// payForTaken counts what is taken and what is dropped against the namespace's quota.
func (p *plan) payForTaken() {
	for i := range p.rec.holds {
		h := &p.rec.holds[i]
		dropped := h.given && !slices.ContainsFunc(p.take, func(t taking) bool { return t.addr == h.addr })
		if dropped && p.counts(h.addr) {
			p.balance--
		}
	}
	for _, t := range p.take {
		if p.rec.hold(t.addr) != nil {
			continue
		}
		if refusal := p.pay(t.addr); refusal != nil {
			p.refusals = append(p.refusals, *refusal)
		}
	}
}

// pay counts addr, which the Service hasn't, against the namespace's quota.
func (p *plan) pay(addr netip.Addr) *Refusal {
	if !p.counts(addr) {
		return nil
	}
	a := p.allocator
	holds := a.held[p.rec.namespace] + p.balance
	if quota, ok := a.config.Quota(p.rec.namespace); ok && holds >= quota {
		return &Refusal{
			Reason: OverQuota, Family: FamilyOf(addr), Pools: a.choiceLocked(p.rec.namespace).names,
			Detail: fmt.Sprintf("%d of %d addresses", holds, quota),
		}
	}
	p.balance++
	return nil
}

// counts reports whether the namespace has addr through this Service alone.
func (p *plan) counts(addr netip.Addr) bool {
	return !addr.IsUnspecified() && !p.allocator.space(addr).holds(addr, p.rec.namespace, p.rec)
}

func (p *plan) takes(addr netip.Addr) bool {
	return slices.ContainsFunc(p.take, func(t taking) bool { return t.addr == addr })
}
