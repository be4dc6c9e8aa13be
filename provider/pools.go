package provider

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"daymark/ipam"
)

// PoolsOptions are the parts of [Pools].
type PoolsOptions struct {
	// Client watches the ConfigMap Namespace/Name.
	Client          kubernetes.Interface
	Namespace, Name string
	// Nodes is the informer of all Nodes; ServiceCIDRs that of networking.k8s.io/v1, or nil where the API server has none. Others run them.
	Nodes        cache.SharedIndexInformer
	ServiceCIDRs cache.SharedIndexInformer
	// Exclude is what else no Service may have.
	Exclude []ipam.Exclusion
	// Services finds the Services that are told of.
	Services corelisters.ServiceLister
	Events   record.EventRecorder
	Metrics  *PoolMetrics
	Log      *slog.Logger
}

// Pools is the [Source] of addresses from the pools of a ConfigMap, which it watches. It remembers in memory alone: after a restart, what the
// Services say is what is in use. Nobody gets an address of a node, of a pod or Service CIDR, or of what the key exclude names.
type Pools struct {
	PoolsOptions
	alloc  *ipam.Allocator
	dirty  chan struct{} // something that the pools depend on changed
	loaded chan struct{} // closed when pools and exclusions are in force for the first time
	wake   func(owners ...string)

	mu   sync.Mutex
	link ipam.Config // as in force; for Link
}

// NewPools returns a source that answers after Run and Replay.
func NewPools(o PoolsOptions) *Pools {
	p := &Pools{PoolsOptions: o, alloc: ipam.New(), dirty: make(chan struct{}, 1), loaded: make(chan struct{})}
	o.Metrics.observe(p.alloc.Stats)
	return p
}

// Allocator returns the memory of the pools, for reading.
func (p *Pools) Allocator() *ipam.Allocator { return p.alloc }

// Run watches what the pools depend on until ctx ends.
func (p *Pools) Run(ctx context.Context, wake func(owners ...string)) error {
	p.wake = wake
	factory := informers.NewSharedInformerFactoryWithOptions(p.Client, 0, informers.WithNamespace(p.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, p.Name).String()
		}))
	configMaps := factory.Core().V1().ConfigMaps().Informer()
	watched := map[cache.SharedIndexInformer]func(old, obj any) bool{configMaps: nil, p.Nodes: nodeDiffers}
	if p.ServiceCIDRs != nil {
		watched[p.ServiceCIDRs] = nil
	}
	var synced []cache.InformerSynced
	for informer, differs := range watched {
		handler, err := informer.AddEventHandler(p.handler(differs))
		if err != nil {
			return fmt.Errorf("watching what the pools depend on: %w", err)
		}
		defer func() { _ = informer.RemoveEventHandler(handler) }()
		synced = append(synced, handler.HasSynced)
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	var last state
	for first := true; ; first = false {
		last = p.load(configMaps.GetIndexer(), last, first)
		if first {
			close(p.loaded)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.dirty:
		}
	}
}

func (p *Pools) handler(differs func(old, obj any) bool) cache.ResourceEventHandler {
	mark := func() {
		select {
		case p.dirty <- struct{}{}:
		default: // marked already
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { mark() },
		UpdateFunc: func(old, obj any) {
			if differs == nil || differs(old, obj) {
				mark()
			}
		},
		DeleteFunc: func(any) { mark() },
	}
}

// state is what was put in force last.
type state struct {
	data    map[string]string
	exclude []ipam.Exclusion
}

// load puts in force what differs from last.
func (p *Pools) load(configMaps cache.Indexer, last state, first bool) state {
	configMap := p.configMap(configMaps)
	now := state{exclude: p.exclusions()}
	if configMap != nil {
		now.data = configMap.Data
	}
	if first || !slices.Equal(now.exclude, last.exclude) {
		p.report(configMap, p.alloc.SetExclusions(now.exclude))
	}
	if !first && maps.Equal(now.data, last.data) {
		return now
	}
	config, problems := ipam.Parse(now.data)
	if configMap == nil {
		p.Log.Warn("no ConfigMap, so no pools", "configmap", p.Namespace+"/"+p.Name)
	}
	for _, problem := range problems {
		reason := "BadConfig"
		if problem.Warning {
			reason = "DoubtfulConfig"
		}
		p.Log.Warn("wrong value in the ConfigMap", "configmap", p.Namespace+"/"+p.Name, "reason", reason, "key", problem.Key, "err", problem)
		p.Events.Event(configMap, corev1.EventTypeWarning, reason, shorten(problem.Error()))
	}
	change := p.alloc.SetConfig(config)
	p.Metrics.configured(len(config.Broken()))
	p.mu.Lock()
	before := p.link
	p.link = p.alloc.Config()
	p.mu.Unlock()
	p.Log.Info("pools in force", "pools", len(config.Pools), "broken", config.Broken(), "waiting", len(change.Wake))
	p.report(configMap, change)
	p.wake(p.relinked(before)...)
	return now
}

// relinked returns the Services whose addresses went to another link before than they go to now, sorted.
func (p *Pools) relinked(before ipam.Config) []string {
	now := p.alloc.Config()
	if maps.Equal(before.Interfaces, now.Interfaces) {
		return nil
	}
	var owners []string
	for _, h := range p.alloc.Holdings() {
		if namespace, _, _ := cache.SplitMetaNamespaceKey(h.Owner); before.Interface(namespace) != now.Interface(namespace) {
			owners = append(owners, h.Owner)
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

func (p *Pools) configMap(configMaps cache.Indexer) *corev1.ConfigMap {
	obj, exists, err := configMaps.GetByKey(p.Namespace + "/" + p.Name)
	if err != nil || !exists {
		return nil
	}
	return obj.(*corev1.ConfigMap)
}

// report tells those who hold what they should not any more, and wakes those who wait.
func (p *Pools) report(configMap *corev1.ConfigMap, change ipam.Change) {
	p.wake(change.Wake...)
	for _, h := range change.Outside {
		text := h.Addr.String()
		if h.Addr.IsUnspecified() {
			text = "DHCP (" + text + ")"
		}
		p.tell(h.Owner, "OutsidePools", text+" is in no pool of the namespace any more; it stays with this Service")
	}
	for _, h := range change.Excluded {
		p.tell(h.Owner, "AddressExcluded", fmt.Sprintf("%s is excluded by now; it stays with this Service", h.Addr))
	}
	if n := len(change.Outside); n > 0 && configMap != nil {
		p.Events.Eventf(configMap, corev1.EventTypeWarning, "PoolShrunk", "%d addresses in use are in no pool any more; they stay with their Services", n)
	}
}

func (p *Pools) tell(owner, reason, text string) {
	p.Log.Warn("address out of place", "service", owner, "reason", reason, "detail", text)
	namespace, name, _ := cache.SplitMetaNamespaceKey(owner)
	if svc, err := p.Services.Services(namespace).Get(name); err == nil {
		p.Events.Event(svc, corev1.EventTypeWarning, reason, text)
	}
}

// shorten keeps a text within what an Event's message may have.
func shorten(text string) string {
	const most = 1000
	if len(text) > most {
		return text[:most] + " ..."
	}
	return text
}

// Replay waits for the pools, then takes over what is in use.
func (p *Pools) Replay(ctx context.Context, all []ipam.Existing) ([]ipam.Conflict, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.loaded:
	}
	return p.alloc.Replay(all), nil
}

// Observe is as in [Source].
func (p *Pools) Observe(e ipam.Existing) (wake []string, conflicts []ipam.Conflict) {
	return p.alloc.Observe(e)
}

// Ensure is as in [Source]; it never blocks.
func (p *Pools) Ensure(_ context.Context, r ipam.Request, _ *corev1.Service) (ipam.Grant, error) {
	return p.alloc.Ensure(r)
}

// Commit is as in [Source].
func (p *Pools) Commit(owner string) []string { return p.alloc.Commit(owner) }

// Rollback is as in [Source].
func (p *Pools) Rollback(owner string) []string { return p.alloc.Rollback(owner) }

// Release is as in [Source]; it never fails.
func (p *Pools) Release(_ context.Context, owner string) ([]string, error) {
	return p.alloc.Release(owner), nil
}

// Link is as in [Source].
func (p *Pools) Link(namespace string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link.Interface(namespace)
}

var _ Source = (*Pools)(nil)
