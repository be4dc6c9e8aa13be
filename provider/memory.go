package provider

import (
	"time"

	corev1 "k8s.io/api/core/v1"

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
	}
	return "AddressRefused", string(first)
}

// forget drops all memory of a Service that is not served, or not any more.
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

func (c *Controller) isMoving(owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moving[owner]
}
