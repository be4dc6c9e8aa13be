package main

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/kubernetes/scheme"
	v1core "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/component-base/metrics/legacyregistry"
	controllermanager "k8s.io/controller-manager/app"
	"k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"

	"daymark/provider/equinix"
)

// controlPlaneLabels are on the Nodes of a control plane: kubeadm's, and what it was before Kubernetes 1.20.
var controlPlaneLabels = [...]string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}

// constructControlPlane returns the function that starts the controller of the control plane's elastic address, where the cloud config has its tag.
func (w *wiring) constructControlPlane(_ app.ControllerInitContext, c *config.CompletedConfig, _ cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, _ controllermanager.ControllerContext) (controller.Interface, bool, error) {
		if w.metal == nil || w.metal.config.EIPTag == "" {
			return nil, false, nil
		}
		check, err := equinix.Readyz(c.Kubeconfig)
		if err != nil {
			return nil, false, err
		}
		log := slog.New(logr.ToSlogHandler(klog.Background()))
		events := record.NewBroadcaster(record.WithContext(ctx))
		events.StartRecordingToSink(&v1core.EventSinkImpl{Interface: c.Client.CoreV1().Events("")})
		nodes := c.SharedInformers.Core().V1().Nodes()
		synced := nodes.Informer().HasSynced
		cfg := equinix.ControlPlaneConfig{
			API: w.metal.control, Tag: w.metal.config.EIPTag, Port: w.metal.config.APIServerPort, Through: !w.metal.config.HealthCheckUseHostIP,
			Nodes: func() ([]*corev1.Node, error) { return controlPlaneNodes(nodes.Lister()) }, Check: check,
			Events:  events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: equinix.ControlPlaneController}),
			Metrics: equinix.NewControlPlaneMetrics(legacyregistry.Registerer()), Log: log,
		}
		if w.fence != nil {
			cfg.May = w.fence.Open
		}
		go func() {
			defer events.Shutdown()
			if !cache.WaitForCacheSync(ctx.Done(), synced) {
				return
			}
			if err := equinix.NewControlPlane(cfg).Run(ctx); err != nil {
				log.Error("controller ended", "controller", equinix.ControlPlaneController, "err", err)
				klog.FlushAndExit(klog.ExitFlushTimeout, 1)
			}
		}()
		return nil, true, nil
	}
}

// controlPlaneNodes returns the Nodes that have one of the control plane's labels, each once.
func controlPlaneNodes(all corelisters.NodeLister) ([]*corev1.Node, error) {
	var out []*corev1.Node
	seen := map[string]bool{}
	for _, label := range controlPlaneLabels {
		has, err := labels.NewRequirement(label, selection.Exists, nil)
		if err != nil {
			return nil, err
		}
		some, err := all.List(labels.NewSelector().Add(*has))
		if err != nil {
			return nil, err
		}
		for _, n := range some {
			if !seen[n.Name] {
				seen[n.Name] = true
				out = append(out, n)
			}
		}
	}
	return out, nil
}
