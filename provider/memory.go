package provider

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"daymark/annotations"
	"daymark/ipam"
)

// refuse tells the user, once for each reason, why a Service has to wait.
func (c *Controller) refuse(svc *corev1.Service, reason, label, text string) {
	owner := ownerOf(svc)
	c.mu.Lock()
	told := c.refused[owner] == reason+text
	c.refused[owner] = reason + text
	c.Metrics.waiting.Set(float64(len(c.refused)))
	c.mu.Unlock()
	if told {
		return
	}
	c.Metrics.refusals.WithLabelValues(label).Inc()
	c.Events.Event(svc, corev1.EventTypeWarning, reason, text)
	c.Log.Info("refused", "service", owner, "reason", label, "detail", text)
}

// refusalReason returns the Event's reason and the metric's label of a refusal; of several, the first decides.
func refusalReason(refusals ipam.Refusals) (reason, label string) {
	if len(refusals) == 0 {
		return "AddressRefused", "unknown"
	}
	first := refusals[0].Reason
	switch first {
	case ipam.Exhausted:
		return "PoolExhausted", string(first)
	case ipam.NoPool:
		return "NoPool", string(first)
	case ipam.OverQuota:
		return "QuotaExceeded", string(first)
	case ipam.Unavailable:
		return "AddressUnavailable", string(first)
	}
	return "AddressRefused", string(first)
}

// memory is what the controller remembers of Services beside what it reads; after a restart all of it is empty. One mutex guards it.
type memory struct {
	mu       sync.Mutex
	refused  map[string]string    // why a Service waits, as its last Event said
	unsure   map[string]bool      // a write of which nobody knows whether it happened
	moving   map[string]move      // must get another address: it was given to another Service too
	told     map[string]string    // the conflict of which a Service's last Event told
	pending  map[string]time.Time // since when a Service has been without addresses
	written  map[string]string    // the resourceVersion of our last write, until the informer shows it
	updating bool                 // patching is forbidden to us: read and replace instead
}

// move is how far a move has come.
type move int

const (
	decided  move = iota + 1 // the address is to be released
	released                 // another is to be written
)

func newMemory() memory {
	return memory{
		refused: map[string]string{}, unsure: map[string]bool{}, moving: map[string]move{}, told: map[string]string{},
		pending: map[string]time.Time{}, written: map[string]string{},
	}
}

// forget drops what is remembered of a Service that is served, or not our concern.
func (c *Controller) forget(owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.refused, owner)
	delete(c.unsure, owner)
	delete(c.moving, owner)
	delete(c.pending, owner)
	c.Metrics.waiting.Set(float64(len(c.refused)))
}

// done notes that a Service has its addresses, and returns since when it had been without, if it had.
func (c *Controller) done(owner string) (since time.Time, wasPending bool) {
	c.mu.Lock()
	since, wasPending = c.pending[owner]
	c.mu.Unlock()
	c.forget(owner)
	return since, wasPending
}

// isPending notes since when a Service has been without an address.
func (c *Controller) isPending(svc *corev1.Service) {
	if svc.Annotations[annotations.LoadBalancerIPs] != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.pending[ownerOf(svc)]; !known {
		c.pending[ownerOf(svc)] = time.Now()
	}
}

// noteWrite remembers that svc was written, so that no decision is taken from what it was before.
func (c *Controller) noteWrite(svc *corev1.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written[ownerOf(svc)] = svc.ResourceVersion
}

// isStale reports whether svc, from the cache, is older than our last write of it. The newer one comes by the watch, and queues it again.
func (c *Controller) isStale(svc *corev1.Service) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.written[ownerOf(svc)]
	if !ok {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(svc.ResourceVersion, last); err == nil && order < 0 {
		return true
	}
	delete(c.written, ownerOf(svc))
	return false
}

func (c *Controller) isUnsure(owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unsure[owner]
}

func (c *Controller) setUnsure(owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsure[owner] = true
}

// startMove notes that a Service must move, and reports whether that is news.
func (c *Controller) startMove(owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moving[owner] != 0 {
		return false
	}
	c.moving[owner] = decided
	return true
}

// takeMove reports whether the address of a Service is to be released, and notes that it is: a move releases once, so that a repeated
// attempt writes what the first one did.
func (c *Controller) takeMove(owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moving[owner] != decided {
		return false
	}
	c.moving[owner] = released
	return true
}

// forgetGone drops what is remembered of a Service that is none of ours any more.
func (c *Controller) forgetGone(owner string) {
	c.forget(owner)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, owner)
	delete(c.written, owner)
}
