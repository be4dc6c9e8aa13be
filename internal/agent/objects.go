package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// objects is what the API server says, kept up to date by one watch a kind, and stripped of everything that is not needed.
type objects struct {
	client    kubernetes.Interface
	node      string
	inbox     *inbox
	factories []informers.SharedInformerFactory

	services, slices, nodes cache.SharedIndexInformer
	// ranges are the Service CIDRs; nil where the API server has no such objects or does not show them.
	ranges    cache.SharedIndexInformer
	cluster   netip.Addr                   // the API server's own cluster address, in place of ranges
	endpoints atomic.Pointer[[]netip.Addr] // the control plane's, as kubeadm publishes them; nil until they were read
	reading   sync.WaitGroup               // of them
	asked     chan struct{}                // closed once what no Service may have is known, or was waited for in vain
}

// byService is the index of EndpointSlices by the Service that they belong to.
const byService = "service"

func newObjects(client kubernetes.Interface, namespace, node string, in *inbox) *objects {
	o := &objects{client: client, node: node, inbox: in, asked: make(chan struct{})}
	filtered := func(tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		f := informers.NewSharedInformerFactoryWithOptions(client, 0,
			informers.WithNamespace(namespace), informers.WithTweakListOptions(tweak), informers.WithTransform(strip(node)))
		o.factories = append(o.factories, f)
		return f
	}
	o.services = filtered(func(l *metav1.ListOptions) {
		l.FieldSelector = fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String()
	}).Core().V1().Services().Informer()
	o.slices = filtered(func(l *metav1.ListOptions) {
		l.LabelSelector = discoveryv1.LabelServiceName + ",!" + corev1.IsHeadlessService
	}).Discovery().V1().EndpointSlices().Informer()
	everywhere := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip(node)))
	o.factories = append(o.factories, everywhere)
	o.nodes = everywhere.Core().V1().Nodes().Informer()
	return o
}

// run follows the API server until ctx ends.
func (o *objects) run(ctx context.Context, log *slog.Logger) error {
	if err := o.slices.AddIndexers(cache.Indexers{byService: sliceService}); err != nil {
		return fmt.Errorf("indexing EndpointSlices: %w", err)
	}
	nodes := handler(func(any) { o.inbox.facts() })
	nodes.UpdateFunc = func(before, after any) {
		if !sameNode(before, after) { // what a kubelet reports every few minutes is mostly that nothing changed
			o.inbox.facts()
		}
	}
	nodes.DeleteFunc = func(any) { o.inbox.facts(); o.inbox.hosts() }
	for informer, events := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		o.services: handler(func(obj any) { o.inbox.name(nameOf(obj)) }),
		o.slices: handler(func(obj any) {
			if s, ok := obj.(*discoveryv1.EndpointSlice); ok {
				o.inbox.name(Name{s.Namespace, s.Labels[discoveryv1.LabelServiceName]})
			}
		}),
		o.nodes: nodes,
	} {
		if _, err := informer.AddEventHandler(events); err != nil {
			return fmt.Errorf("following objects: %w", err)
		}
	}
	for _, f := range o.factories {
		f.Start(ctx.Done())
	}
	o.readReserved(ctx, log)
	<-ctx.Done()
	untilEnd(ctx, func() {
		o.reading.Wait()
		for _, f := range o.factories {
			f.Shutdown()
		}
	})
	return nil
}

// wait returns once everything was read, or false when ctx ends first.
func (o *objects) wait(ctx context.Context) bool {
	if !cache.WaitForCacheSync(ctx.Done(), o.services.HasSynced, o.slices.HasSynced, o.nodes.HasSynced) {
		return false
	}
	select {
	case <-o.asked:
		return true
	case <-ctx.Done():
		return false
	}
}

// synced reports which kinds are not complete yet.
func (o *objects) synced() []string {
	var missing []string
	for kind, i := range map[string]cache.SharedIndexInformer{"Services": o.services, "EndpointSlices": o.slices, "Nodes": o.nodes} {
		if !i.HasSynced() {
			missing = append(missing, kind)
		}
	}
	slices.Sort(missing)
	return missing
}

// service returns the Service of that name, which the caller does not change, or nil.
func (o *objects) service(name Name) *corev1.Service {
	obj, ok, err := o.services.GetIndexer().GetByKey(name.String())
	if err != nil || !ok {
		return nil
	}
	svc, _ := obj.(*corev1.Service)
	return svc
}

func (o *objects) slicesOf(name Name) []*discoveryv1.EndpointSlice {
	found, err := o.slices.GetIndexer().ByIndex(byService, name.String())
	if err != nil {
		return nil
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(found))
	for _, obj := range found {
		if s, ok := obj.(*discoveryv1.EndpointSlice); ok {
			out = append(out, s)
		}
	}
	return out
}

// names returns the name of every Service that there is.
func (o *objects) names() []Name {
	var out []Name
	for _, obj := range o.services.GetStore().List() {
		out = append(out, nameOf(obj))
	}
	return out
}

// registered reports whether there is a Node of that name.
func (o *objects) registered(node string) bool {
	_, there, err := o.nodes.GetStore().GetByKey(node)
	return err == nil && there
}

// own returns this node's object, or nil.
func (o *objects) own() *corev1.Node {
	obj, ok, err := o.nodes.GetIndexer().GetByKey(o.node)
	if err != nil || !ok {
		return nil
	}
	node, _ := obj.(*corev1.Node)
	return node
}

func handler(note func(any)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: note,
		UpdateFunc: func(before, after any) {
			note(before) // an EndpointSlice can move to another Service
			note(after)
		},
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			note(obj)
		},
	}
}

func nameOf(obj any) Name {
	if o, ok := obj.(metav1.Object); ok {
		return Name{o.GetNamespace(), o.GetName()}
	}
	return Name{}
}

func sliceService(obj any) ([]string, error) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || s.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}, nil
}

// startSlowly logs what is waited for, at most every ten seconds, while the API server can't be read.
func (o *objects) startSlowly(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.asked:
			return
		case <-tick.C:
			log.Info("waiting for the API server", "kinds", strings.Join(o.synced(), ","))
		}
	}
}
