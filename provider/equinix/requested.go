package equinix

import (
	"net/netip"
	"slices"

	"daymark/ipam"
)

// requested gives addresses that the user named: the project must own them, and nobody else have them.
func (e *EIPs) requested(r ipam.Request) (ipam.Grant, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var grant ipam.Grant
	var refused ipam.Refusals
	for _, addr := range r.Requested {
		if no, ok := e.refusalLocked(r, addr); ok {
			refused = append(refused, no)
			continue
		}
		grant.Addrs = append(grant.Addrs, ipam.Assigned{Addr: addr, Requested: true, Pool: vendor + " (the project's own)"})
	}
	if len(refused) > 0 {
		return ipam.Grant{}, refused
	}
	e.grantLocked(r.Owner, &grant)
	return grant, nil
}

// refusalLocked says why the owner can't have an address that it asked for.
func (e *EIPs) refusalLocked(r ipam.Request, addr netip.Addr) (ipam.Refusal, bool) {
	no := ipam.Refusal{Addr: addr, Family: ipam.FamilyOf(addr)}
	res, owned := e.ledger.containing(addr)
	assigned := slices.IndexFunc(res.Assignments, func(a Assignment) bool { return a.covers(addr) })
	switch by, excluded := e.excludedLocked(addr); {
	case !takes(r, no.Family):
		no.Reason = ipam.WrongFamily
	case excluded:
		no.Reason, no.By = ipam.Excluded, by
	case !owned:
		no.Reason, no.Pools, no.Detail = ipam.NotInPool, []string{vendor}, "the project owns no such address; it is looked for again every minute"
	case assigned >= 0:
		no.Reason, no.By = ipam.Excluded, "assigned to device "+res.Assignments[assigned].Device
	case e.holders.other(r.Owner, addr) != "":
		no.Reason, no.By = ipam.Taken, e.holders.other(r.Owner, addr)
	case slices.Contains(res.Tags, usageTag) && e.ledger.serviceTag(res) != serviceTag(r.Owner):
		no.Reason, no.By = ipam.Taken, "a Service, as its tags at "+vendor+" say"
	default:
		return ipam.Refusal{}, false
	}
	return no, true
}

// takes reports whether the Service can have an address of that family.
func takes(r ipam.Request, f ipam.Family) bool {
	return len(r.Families) == 0 || slices.Contains(r.Families, f)
}

// excludedLocked says what an address belongs to that no Service may have.
func (e *EIPs) excludedLocked(addr netip.Addr) (what string, excluded bool) {
	if r, ok := e.ledger.containing(addr); ok && e.ledger.isControl(r) {
		return "the control plane's address", true
	}
	return e.Excluded(addr)
}
