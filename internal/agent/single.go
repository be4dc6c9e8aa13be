package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// watch puts each version of the Node into the channel. It is one watch on one object.
func (p *Peering) watch(ctx context.Context) error {
	nodes := p.cfg.Client.CoreV1().Nodes()
	informer := single(p.cfg.Client, p.cfg.NodeName, &corev1.Node{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) },
		func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return nodes.Watch(ctx, o) })
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    p.take,
		UpdateFunc: func(_, obj any) { p.take(obj) },
		DeleteFunc: func(any) { p.put(nil) },
	})
	if err != nil {
		return fmt.Errorf("watching node %s: %w", p.cfg.NodeName, err)
	}
	untilEnd(ctx, func() { informer.RunWithContext(ctx) })
	return nil
}

// single returns an informer of the one object of that name.
func single(client any, name string, kind runtime.Object, list cache.ListWithContextFunc, follow cache.WatchFuncWithContext) cache.SharedIndexInformer {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return follow(ctx, o)
		},
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, client), kind, 0, nil)
}

func (p *Peering) take(obj any) {
	if node, ok := obj.(*corev1.Node); ok && node.Name == p.cfg.NodeName {
		p.put(node)
	}
}

// put replaces what waits in the channel; only the informer's goroutine calls it.
func (p *Peering) put(node *corev1.Node) {
	select {
	case <-p.node:
	default:
	}
	p.node <- node
}
