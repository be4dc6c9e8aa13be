package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"daymark/annotations"
	"daymark/ipam"
)

// sync does for one Service what its state asks for.
func (c *Controller) sync(ctx context.Context, owner string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(owner)
	if err != nil {
		return nil // no such Service can be
	}
	svc, err := c.lister.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return c.release(ctx, owner)
	}
	if err != nil {
		return fmt.Errorf("reading the cache: %w", err)
	}
	if c.isStale(svc) {
		return nil
	}
	ours := writtenByUs(svc, c.Managers)
	switch {
	case svc.DeletionTimestamp != nil && c.serves(svc):
		return c.clear(ctx, svc, marks{})
	case !isLoadBalancer(svc):
		return c.clear(ctx, svc, ours)
	case annotations.True(svc.Annotations, annotations.Ignore):
		c.forget(owner)
		return c.observe(svc, ours)
	case c.serves(svc):
		return c.serve(ctx, svc, ours)
	case c.servedElsewhere(svc) && (ours.Addresses || ours.Label):
		return c.handOver(ctx, svc, ours)
	}
	c.forget(owner)
	return c.observe(svc, ours)
}

// observe tells the source of the addresses of a Service that we don't serve.
func (c *Controller) observe(svc *corev1.Service, ours marks) error {
	wake, conflicts := c.Source.Observe(existingOf(svc, ours, false))
	c.wake(wake...)
	c.resolve(conflicts)
	return nil
}

// serve gives svc its addresses, or tells why not.
func (c *Controller) serve(ctx context.Context, svc *corev1.Service, ours marks) error {
	owner := ownerOf(svc)
	wake, conflicts := c.Source.Observe(existingOf(svc, ours, true))
	c.wake(wake...)
	c.resolve(conflicts)
	w, err := wishOf(svc, ours)
	if err != nil {
		c.refuse(svc, "AddressRefused", "unparsable", err.Error())
		return nil
	}
	if w.Named {
		return errors.Join(c.release(ctx, owner), c.observe(svc, ours))
	}
	if c.takeMove(owner) {
		if wake, err = c.Source.Release(ctx, owner); err != nil {
			return fmt.Errorf("releasing an address that was given twice: %w", err)
		}
		c.wake(wake...)
	}
	c.isPending(svc)
	grant, err := c.Source.Ensure(ctx, w.Request, svc)
	var refusals ipam.Refusals
	switch {
	case errors.As(err, &refusals):
		reason, label := refusalReason(refusals)
		c.refuse(svc, reason, label, refusals.Error())
		return nil
	case err != nil:
		return fmt.Errorf("asking for addresses: %w", err)
	}
	return c.assign(ctx, svc, ours, grant)
}

// assign writes a grant and tells the source how that went.
func (c *Controller) assign(ctx context.Context, svc *corev1.Service, ours marks, grant ipam.Grant) error {
	owner := ownerOf(svc)
	if len(grant.Addrs) == 0 {
		return errors.New("the source granted no address")
	}
	changed, err := c.write(ctx, svc, servedTarget(svc, ours, grant.List(), c.Source.Link(svc.Namespace)))
	switch {
	case err == nil:
		c.wake(c.Source.Commit(owner)...)
		since, wasPending := c.done(owner)
		if changed {
			if wasPending {
				c.Metrics.latency.Observe(time.Since(since).Seconds())
			}
			c.announce(svc, grant)
		}
		return nil
	case apierrors.IsNotFound(err):
		return c.release(ctx, owner)
	case certain(err):
		if !c.isUnsure(owner) {
			c.wake(c.Source.Rollback(owner)...)
		}
	default:
		c.setUnsure(owner)
	}
	return fmt.Errorf("writing addresses: %w", err)
}

// announce tells the user which addresses are new.
func (c *Controller) announce(svc *corev1.Service, grant ipam.Grant) {
	var texts []string
	for _, a := range grant.Addrs {
		if a.New {
			texts = append(texts, a.String())
		}
	}
	if len(texts) == 0 {
		return
	}
	text := strings.Join(texts, ", ")
	if len(grant.Missing) > 0 {
		text += "; " + grant.Missing.Error()
	}
	c.Events.Event(svc, corev1.EventTypeNormal, "AddressAssigned", text)
	c.Log.Info("assigned", "service", ownerOf(svc), "addrs", annotations.FormatAddresses(grant.List()))
}

// clear takes from svc what it has of us: its addresses, the fields that are ours, and the finalizer.
func (c *Controller) clear(ctx context.Context, svc *corev1.Service, ours marks) error {
	if err := c.release(ctx, ownerOf(svc)); err != nil {
		return err
	}
	return c.unwrite(ctx, svc, ours)
}

// handOver is clear for a load balancer that another program serves by now: the addresses in it are in use until they are removed from it.
func (c *Controller) handOver(ctx context.Context, svc *corev1.Service, ours marks) error {
	if err := c.unwrite(ctx, svc, ours); err != nil {
		return err
	}
	if err := c.release(ctx, ownerOf(svc)); err != nil {
		return err
	}
	after := svc.DeepCopy()
	clearedTarget(ours).apply(after)
	return c.observe(after, marks{})
}

// unwrite removes the fields that are ours, and the finalizer.
func (c *Controller) unwrite(ctx context.Context, svc *corev1.Service, ours marks) error {
	t := clearedTarget(ours)
	// Another cloud provider may use the finalizer of the same name, for a Service that is none of ours.
	foreign := !ours.Finalizer && !c.serves(svc) && svc.Labels[annotations.ImplementationLabel] != annotations.Implementation
	t.Finalizer = hasFinalizer(svc) && foreign
	if _, err := c.write(ctx, svc, t); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing what was written: %w", err)
	}
	return nil
}

// release gives back what the owner has, and forgets it.
func (c *Controller) release(ctx context.Context, owner string) error {
	wake, err := c.Source.Release(ctx, owner)
	if err != nil {
		return fmt.Errorf("releasing addresses: %w", err)
	}
	c.forgetGone(owner)
	c.wake(wake...)
	return nil
}
