package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	cliflag "k8s.io/component-base/cli/flag"
	controllermanager "k8s.io/controller-manager/app"
	"k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"

	"daymark/provider"
)

// The cloud providers, and the names under which older manifests ask for the first.
const (
	cloudPools       = "kube-vip"
	cloudPoolsLegacy = "kubevip"
)

// classController is the seat, for --controllers, of Services with our load balancer class; those without a class have the framework's own.
const classController = "service-class-lb-controller"

// Defaults with which the API server is the limit, not the client: the framework's are 20 requests a second and one worker.
const (
	defaultQPS     = 1000
	defaultBurst   = 2000
	defaultWorkers = 32
)

// newController returns the framework's command with our controllers in it.
func newController(s *settings) (*cobra.Command, error) {
	opts, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("reading the framework's defaults: %w", err)
	}
	opts.KubeCloudShared.CloudProvider.Name = cloudPools
	opts.KubeCloudShared.AllowUntaggedCloud = true
	opts.Authentication.SkipInClusterLookup = true // spares the permission to read kube-system/extension-apiserver-authentication
	opts.Generic.LeaderElection.ResourceName = "kube-vip-cloud-controller"
	opts.Generic.ClientConnection.QPS = defaultQPS
	opts.Generic.ClientConnection.Burst = defaultBurst
	opts.ServiceController.ConcurrentServiceSyncs = defaultWorkers

	w := &wiring{settings: s}
	constructors := map[string]app.ControllerInitFuncConstructor{
		names.ServiceLBController: {InitContext: app.ControllerInitContext{ClientName: "service-controller"}, Constructor: w.construct},
		classController:           {InitContext: app.ControllerInitContext{ClientName: "service-controller"}, Constructor: w.construct},
	}
	constructors[provider.NodeBGPController] = app.ControllerInitFuncConstructor{
		InitContext: app.ControllerInitContext{ClientName: provider.NodeBGPController}, Constructor: constructNodeBGP,
	}
	for _, name := range []string{names.CloudNodeController, names.CloudNodeLifecycleController} {
		constructors[name] = app.DefaultInitFuncConstructors[name]
	}
	own := cliflag.NamedFlagSets{}
	s.addFlags(own.FlagSet("addresses"))
	command := app.NewCloudControllerManagerCommand(opts, w.cloud, constructors, names.CCMControllerAliases(), own, wait.NeverStop)
	command.Use = "ccm"
	command.SilenceUsage = true
	command.Long = "ccm gives Services of type LoadBalancer addresses from the pools of a ConfigMap, or from a vendor."
	return command, nil
}

// cloud returns the cloud that --cloud-provider names, and puts the fence into the transport of every client made from now on.
func (w *wiring) cloud(c *config.CompletedConfig) cloudprovider.Interface {
	switch name := c.ComponentConfig.KubeCloudShared.CloudProvider.Name; name {
	case cloudPools, cloudPoolsLegacy:
	default:
		klog.ErrorS(nil, "Unknown cloud provider", "flag", "--cloud-provider", "value", name, "known", []string{cloudPools})
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	if le := c.ComponentConfig.Generic.LeaderElection; le.LeaderElect {
		c.Kubeconfig.Wrap(provider.NewFence(le.ResourceNamespace, le.ResourceName, le.RenewDeadline.Duration).Wrap)
	}
	return &provider.Cloud{Name: cloudPools}
}

// construct returns the function that starts the controller. Two names lead here, for two kinds of Services; the first that starts, starts it for both.
func (w *wiring) construct(_ app.ControllerInitContext, c *config.CompletedConfig, _ cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, _ controllermanager.ControllerContext) (controller.Interface, bool, error) {
		enabled := func(name string) bool {
			return controllermanager.IsControllerEnabled(name, app.ControllersDisabledByDefault, c.ComponentConfig.Generic.Controllers)
		}
		w.once.Do(func() { w.err = w.start(ctx, c, enabled(names.ServiceLBController), enabled(classController)) })
		return nil, w.err == nil, w.err
	}
}
