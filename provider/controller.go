package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"daymark/annotations"
	"daymark/ipam"
)

// Back-off of a Service after an error; being refused is no error: such a Service waits until it is woken.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// Options are the parts of a [Controller].
type Options struct {
	// Client writes Services; nothing else is done with it.
	Client kubernetes.Interface
	// Services is the informer of all Services, with the transform [Trim]; its list must not be older than the leadership.
	Services cache.SharedIndexInformer
	Source   Source
	// Unclassed serves Services without a class; Class, unless empty, those of that class.
	Unclassed bool
	Class     string
	// Managers are the field managers whose writes count as ours, [FieldManager] first.
	Managers []string
	// Workers is how many Services are served at a time, at least 1.
	Workers int
	// Events is told of every answer.
	Events  record.EventRecorder
	Metrics *Metrics
	Log     *slog.Logger
}

// Controller gives addresses to Services: one queue, Workers goroutines, a Service never by two of them.
type Controller struct {
	Options
	lister corelisters.ServiceLister
	queue  workqueue.TypedRateLimitingInterface[string]

	memory
}

// New returns a controller that does nothing until Run.
func New(o Options) *Controller {
	return &Controller{
		Options: o,
		lister:  corelisters.NewServiceLister(o.Services.GetIndexer()),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](minBackoff, maxBackoff),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "loadbalancer"},
		),
		memory: newMemory(),
	}
}

// Run serves until ctx ends. Nothing is allocated before the source has been told of every Service. It is called once.
func (c *Controller) Run(ctx context.Context) error {
	handler, err := c.Services.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.changed(nil, obj) },
		UpdateFunc: func(old, obj any) { c.changed(old, obj) },
		DeleteFunc: func(obj any) { c.changed(obj, nil) },
	})
	if err != nil {
		return fmt.Errorf("watching Services: %w", err)
	}
	defer func() { _ = c.Services.RemoveEventHandler(handler) }()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		<-ctx.Done()
		c.queue.ShutDown()
		return nil
	})
	tasks.Go(func() error { return c.Source.Run(ctx, c.wake) })
	tasks.Go(func() error {
		if !cache.WaitForCacheSync(ctx.Done(), c.Services.HasSynced, handler.HasSynced) {
			return nil
		}
		if err := c.replay(ctx); err != nil {
			return fmt.Errorf("taking over what is in use: %w", err)
		}
		for range max(c.Workers, 1) {
			tasks.Go(func() error {
				for c.next(ctx) {
				}
				return nil
			})
		}
		return nil
	})
	if err := tasks.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// replay tells the source of every Service, and queues those that ask for an address of their own before the others, each in the order of their creation.
func (c *Controller) replay(ctx context.Context) error {
	begun := time.Now()
	var all []ipam.Existing
	var asking, others []*corev1.Service
	for _, obj := range c.Services.GetIndexer().List() {
		svc := obj.(*corev1.Service)
		if !isLoadBalancer(svc) {
			continue
		}
		ours := writtenByUs(svc, c.Managers)
		all = append(all, existingOf(svc, ours, c.serves(svc) && !served(svc)))
		if requests, _ := asked(svc, ours); len(requests) > 0 {
			asking = append(asking, svc)
		} else {
			others = append(others, svc)
		}
	}
	slices.SortFunc(all, func(a, b ipam.Existing) int { return cmp.Compare(a.Owner, b.Owner) })
	conflicts, err := c.Source.Replay(ctx, all)
	if err != nil {
		return err
	}
	c.resolve(conflicts)
	for _, svc := range slices.Concat(slices.SortedFunc(slices.Values(asking), older), slices.SortedFunc(slices.Values(others), older)) {
		c.queue.Add(ownerOf(svc))
	}
	c.Log.Info("took over what is in use", "services", len(all), "conflicts", len(conflicts), "duration", time.Since(begun))
	return nil
}

func older(a, b *corev1.Service) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(ownerOf(a), ownerOf(b)))
}

// changed queues the Services that matter: load balancers of any class, and what they were before.
func (c *Controller) changed(old, obj any) {
	var owner string
	var matters bool
	for _, o := range []any{old, obj} {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		svc, ok := o.(*corev1.Service)
		if !ok {
			continue
		}
		owner = ownerOf(svc)
		matters = matters || isLoadBalancer(svc) || hasFinalizer(svc) || writtenByUs(svc, c.Managers).any()
	}
	if matters {
		c.queue.Add(owner)
	}
}

// wake queues Services that were refused before.
func (c *Controller) wake(owners ...string) {
	for _, owner := range owners {
		c.queue.Add(owner)
	}
}

func (c *Controller) next(ctx context.Context) bool {
	owner, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(owner)
	err := c.sync(ctx, owner)
	if err == nil || ctx.Err() != nil {
		c.queue.Forget(owner)
		return true
	}
	c.Metrics.retries.Inc()
	c.Log.Warn("service not served; trying again", "service", owner, "err", err)
	c.queue.AddRateLimited(owner)
	return true
}

// serves reports whether svc is of a kind that this process serves.
func (c *Controller) serves(svc *corev1.Service) bool {
	switch class := svc.Spec.LoadBalancerClass; {
	case !isLoadBalancer(svc):
		return false
	case class == nil:
		return c.Unclassed
	default:
		return c.Class != "" && *class == c.Class
	}
}

// servedElsewhere reports whether svc has a class that is certainly another program's: neither ours nor one that we would serve when asked to.
func (c *Controller) servedElsewhere(svc *corev1.Service) bool {
	class := svc.Spec.LoadBalancerClass
	return isLoadBalancer(svc) && class != nil && *class != c.Class && *class != annotations.DefaultClass
}
