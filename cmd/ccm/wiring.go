package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	v1core "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"daymark/ipam"
	"daymark/provider"
	"daymark/provider/equinix"
)

// wiring puts the parts together once, when this process has become the leader.
type wiring struct {
	settings *settings
	getenv   func(string) string
	metal    *metal          // nil for another cloud
	fence    *provider.Fence // nil without an election
	once     sync.Once
	err      error
}

// start starts the controller for Services without a class (unclassed) and with ours (classed). It returns at once; the controller runs until ctx ends.
func (w *wiring) start(ctx context.Context, c *config.CompletedConfig, unclassed, classed bool) error {
	log := slog.New(logr.ToSlogHandler(klog.Background()))
	client, err := clientFor(c.Kubeconfig, "load-balancer-controller")
	if err != nil {
		return err
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	late := provider.NewLateEvents(&v1core.EventSinkImpl{Interface: c.Client.CoreV1().Events("")}, log)
	events.StartRecordingToSink(late)
	recorder := events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: provider.FieldManager})

	managers := []string{provider.FieldManager}
	if w.metal != nil {
		managers = append(managers, equinixFieldManager)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTransform(provider.Trim(managers)), informers.WithTweakListOptions(consistent))
	services := factory.Core().V1().Services().Informer()
	nodes := c.SharedInformers.Core().V1().Nodes().Informer()
	if err := nodes.SetTransform(provider.TrimNode); err != nil {
		return fmt.Errorf("preparing to watch Nodes: %w", err)
	}
	serviceCIDRs, err := serviceCIDRs(ctx, c, log)
	if err != nil {
		return err
	}
	exclude, err := provider.ControlPlaneExclusions(ctx, c.VersionedClient)
	if err != nil {
		return err
	}
	exclude = append(exclude, provider.ServerExclusions(c.Kubeconfig.Host, "API server")...)
	var source provider.Source
	if w.metal != nil {
		none := exclusions{read: func() []ipam.Exclusion { return provider.Exclusions(nodes, serviceCIDRs, exclude) }}
		o := equinix.EIPOptions{Excluded: none.find, Log: log}
		if w.fence != nil {
			o.May = w.fence.Open
		}
		if source, err = w.metal.addresses(ctx, client, o); err != nil {
			return err
		}
	} else {
		source = provider.NewPools(provider.PoolsOptions{
			Client: client, Namespace: w.settings.Namespace, Name: w.settings.ConfigMap,
			Nodes: nodes, ServiceCIDRs: serviceCIDRs, Exclude: exclude,
			Services: corelisters.NewServiceLister(services.GetIndexer()),
			Events:   recorder, Metrics: provider.NewPoolMetrics(legacyregistry.Registerer()), Log: log,
		})
	}
	o := provider.Options{
		Client: client, Services: services, Source: source, Unclassed: unclassed, Managers: managers,
		Workers: int(c.ComponentConfig.ServiceController.ConcurrentServiceSyncs),
		Events:  recorder, Metrics: provider.NewMetrics(legacyregistry.Registerer()), Log: log,
	}
	if classed && w.settings.ClassEnabled {
		o.Class = w.settings.Class
	}
	controller := provider.New(o)
	factory.Start(ctx.Done())
	go late.Run(ctx)
	synced := []cache.InformerSynced{nodes.HasSynced}
	if serviceCIDRs != nil {
		synced = append(synced, serviceCIDRs.HasSynced)
	}
	go func() {
		defer events.Shutdown()
		if !cache.WaitForCacheSync(ctx.Done(), synced...) { // what no Service may have
			return
		}
		if err := controller.Run(ctx); err != nil {
			log.Error("controller ended", "err", err)
			klog.FlushAndExit(klog.ExitFlushTimeout, 1)
		}
	}()
	return nil
}

// clientFor returns a client whose writes are fenced, and of which each attempt is seen.
func clientFor(base *rest.Config, name string) (kubernetes.Interface, error) {
	kubeconfig := rest.AddUserAgent(rest.CopyConfig(base), name)
	kubeconfig.Wrap(provider.OneAttempt)
	client, err := kubernetes.NewForConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return client, nil
}

// consistent makes the first list of an informer a read of what is, not of what an API server remembers: a new leader must see all that the old one wrote.
func consistent(o *metav1.ListOptions) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = ""
	}
}

// serviceCIDRs returns the informer of ServiceCIDRs, or nil where the API server has none (before Kubernetes 1.33) or our role doesn't allow to read them.
func serviceCIDRs(ctx context.Context, c *config.CompletedConfig, log *slog.Logger) (cache.SharedIndexInformer, error) {
	_, err := c.VersionedClient.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{Limit: 1})
	switch {
	case apierrors.IsNotFound(err):
		log.Info("the API server has no ServiceCIDRs; name the Service CIDR in the key exclude")
		return nil, nil
	case apierrors.IsForbidden(err):
		log.Warn("reading ServiceCIDRs is not allowed; grant it, or name the Service CIDR in the key exclude", "err", err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading ServiceCIDRs: %w", err)
	}
	return c.SharedInformers.Networking().V1().ServiceCIDRs().Informer(), nil
}
