package provider

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"daymark/ipam"
)

// resolve deals with addresses that more Services have than may: written by users, by others, or by a leader that was no longer one. The Service
// that has the best right keeps the address; each other one for which the CCM chose it gets another one.
func (c *Controller) resolve(conflicts []ipam.Conflict) {
	for _, conflict := range conflicts {
		owners := c.owners(conflict)
		if conflict.By != "" {
			c.warnExcluded(conflict, owners)
			continue
		}
		slices.SortFunc(owners, c.precedes)
		for i, svc := range owners[min(1, len(owners)):] {
			c.yield(svc, conflict.Addr, owners[:i+1])
		}
	}
}

// warnExcluded tells those that we serve that their address is not theirs to have. It stays: an exclusion may be newer than the Service.
func (c *Controller) warnExcluded(conflict ipam.Conflict, owners []*corev1.Service) {
	for _, svc := range owners {
		if c.serves(svc) {
			c.tell(svc, fmt.Sprintf("%s is excluded: %s", conflict.Addr, conflict.By))
		}
	}
}

// owners returns the Services of a conflict that still exist.
func (c *Controller) owners(conflict ipam.Conflict) []*corev1.Service {
	var out []*corev1.Service
	for _, owner := range conflict.Owners {
		namespace, name, err := cache.SplitMetaNamespaceKey(owner)
		if err != nil {
			continue
		}
		if svc, err := c.lister.Services(namespace).Get(name); err == nil && isLoadBalancer(svc) {
			out = append(out, svc)
		}
	}
	return out
}

// precedes orders by right: what we can't move comes before what we can, then the older one.
func (c *Controller) precedes(a, b *corev1.Service) int {
	switch movable := c.movable(b); {
	case c.movable(a) == movable:
		return older(a, b)
	case movable:
		return -1
	}
	return 1
}

// movable reports whether the CCM chose the address of svc, so that it may choose another.
func (c *Controller) movable(svc *corev1.Service) bool {
	ours := writtenByUs(svc, c.Managers)
	requests, err := asked(svc, ours)
	return c.serves(svc) && svc.DeletionTimestamp == nil && ours.Addresses && err == nil && len(requests) == 0
}

// yield moves svc to another address, when it can be moved and shares a port with one of keepers; else it only tells.
func (c *Controller) yield(svc *corev1.Service, addr netip.Addr, keepers []*corev1.Service) {
	i := slices.IndexFunc(keepers, func(keeper *corev1.Service) bool { return collide(portsOf(svc), portsOf(keeper)) })
	if i < 0 || !c.serves(svc) || c.isStale(svc) {
		return
	}
	ours := writtenByUs(svc, c.Managers)
	if !slices.Contains(existingOf(svc, ours, false).Addrs, addr) {
		return // only its status still shows the address: it has moved, and the agents are about to follow
	}
	text := fmt.Sprintf("%s is also %s's", addr, ownerOf(keepers[i]))
	if !c.movable(svc) {
		c.tell(svc, text)
		return
	}
	if c.startMove(ownerOf(svc)) {
		c.tell(svc, text+"; this Service gets another address")
		c.queue.Add(ownerOf(svc))
	}
}

// tell tells the user of a conflict, once.
func (c *Controller) tell(svc *corev1.Service, text string) {
	c.mu.Lock()
	told := c.told[ownerOf(svc)] == text
	c.told[ownerOf(svc)] = text
	c.mu.Unlock()
	if told {
		return
	}
	c.Metrics.conflicts.Inc()
	c.Events.Event(svc, corev1.EventTypeWarning, "AddressConflict", text)
	c.Log.Warn("conflict", "service", ownerOf(svc), "detail", text)
}

// collide reports whether a port is in both, or one of them has none, which takes all.
func collide(a, b []ipam.Port) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(p ipam.Port) bool { return slices.Contains(b, p) })
}
