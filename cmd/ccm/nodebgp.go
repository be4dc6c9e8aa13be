package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	v1core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	controllermanager "k8s.io/controller-manager/app"
	"k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"

	"daymark/provider"
)

// constructNodeBGP returns the function that starts the controller of BGP in Node annotations: from the vendor's API, or from the rules in the cloud config, if there is one.
func (w *wiring) constructNodeBGP(_ app.ControllerInitContext, c *config.CompletedConfig, _ cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, _ controllermanager.ControllerContext) (controller.Interface, bool, error) {
		log := slog.New(logr.ToSlogHandler(klog.Background()))
		client, err := clientFor(c.Kubeconfig, provider.NodeBGPController)
		if err != nil {
			return nil, false, err
		}
		source, err := w.nodeBGPSource(c, client, log)
		if source == nil || err != nil {
			return nil, false, err
		}
		events := record.NewBroadcaster(record.WithContext(ctx))
		events.StartRecordingToSink(&v1core.EventSinkImpl{Interface: c.Client.CoreV1().Events("")})
		controller := provider.NewNodeBGP(provider.NodeBGPOptions{
			Client: client, Nodes: c.SharedInformers.Core().V1().Nodes().Informer(), Source: source,
			Events: events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: provider.NodeBGPController}), Log: log,
		})
		go func() {
			defer events.Shutdown()
			if err := controller.Run(ctx); err != nil {
				log.Error("controller ended", "controller", provider.NodeBGPController, "err", err)
				klog.FlushAndExit(klog.ExitFlushTimeout, 1)
			}
		}()
		return nil, true, nil
	}
}

// nodeBGPSource returns nil where nothing says what Nodes shall have.
func (w *wiring) nodeBGPSource(c *config.CompletedConfig, client kubernetes.Interface, log *slog.Logger) (provider.NodeBGPSource, error) {
	if w.metal != nil {
		return w.metal.nodeBGP(log), nil
	}
	file := c.ComponentConfig.KubeCloudShared.CloudProvider.CloudConfigFile
	if file == "" {
		return nil, nil
	}
	return provider.NewNodeBGPRuleSource(client, func() ([]byte, error) { return os.ReadFile(file) }, log)
}
