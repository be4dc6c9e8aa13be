package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
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
	"daymark/provider/equinix"
)

// The cloud without a vendor, and the name under which older manifests ask for it.
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
func newController(s *settings, getenv func(string) string) (*cobra.Command, error) {
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

	w := &wiring{settings: s, getenv: getenv}
	constructors := map[string]app.ControllerInitFuncConstructor{
		names.ServiceLBController: {InitContext: app.ControllerInitContext{ClientName: "service-controller"}, Constructor: w.construct},
		classController:           {InitContext: app.ControllerInitContext{ClientName: "service-controller"}, Constructor: w.construct},
	}
	constructors[provider.NodeBGPController] = app.ControllerInitFuncConstructor{
		InitContext: app.ControllerInitContext{ClientName: provider.NodeBGPController}, Constructor: w.constructNodeBGP,
	}
	constructors[equinix.ControlPlaneController] = app.ControllerInitFuncConstructor{
		InitContext: app.ControllerInitContext{ClientName: equinix.ControlPlaneController}, Constructor: w.constructControlPlane,
	}
	for _, name := range []string{names.CloudNodeController, names.CloudNodeLifecycleController} {
		constructors[name] = app.DefaultInitFuncConstructors[name]
	}
	own := cliflag.NamedFlagSets{}
	s.addFlags(own.FlagSet("addresses"))
	// Nothing stops it but a signal, the first of which ends it at once: it holds nothing, and who comes after it finishes what it began.
	command := app.NewCloudControllerManagerCommand(opts, w.cloud, constructors, names.CCMControllerAliases(), own, wait.NeverStop)
	command.Use = "ccm"
	command.SilenceUsage = true
	command.Long = "ccm gives Services of type LoadBalancer addresses from the pools of a ConfigMap, or from a vendor."
	return command, nil
}

// cloud returns the cloud that --cloud-provider names, and puts the fence into the transport of every client made from now on. What can't work ends the process.
func (w *wiring) cloud(c *config.CompletedConfig) cloudprovider.Interface {
	fail := func(err error) {
		klog.Flush()
		fmt.Fprintln(os.Stderr, "ccm:", err)
		os.Exit(1)
	}
	cloud := &provider.Cloud{Name: cloudPools}
	switch chosen := c.ComponentConfig.KubeCloudShared.CloudProvider; chosen.Name {
	case cloudPools, cloudPoolsLegacy:
	case equinix.ProviderName:
		var err error
		if w.metal, err = newMetal(chosen.CloudConfigFile, w.getenv); err != nil {
			fail(err)
		}
		if err := w.metal.check(context.Background(), slog.New(logr.ToSlogHandler(klog.Background()))); err != nil {
			fail(fmt.Errorf("asking the Equinix Metal API: %w", err))
		}
		cloud.Name, cloud.Nodes = equinix.ProviderName, w.metal.instances
	default:
		fail(fmt.Errorf("--cloud-provider=%s: use %s or %s", chosen.Name, cloudPools, equinix.ProviderName))
	}
	if le := c.ComponentConfig.Generic.LeaderElection; le.LeaderElect {
		w.fence = provider.NewFence(le.ResourceNamespace, le.ResourceName, le.RenewDeadline.Duration)
		c.Kubeconfig.Wrap(w.fence.Wrap)
	}
	return cloud
}

// construct returns the function that starts the controller. Two names lead here, for two kinds of Services; the first that starts, starts it for both.
func (w *wiring) construct(_ app.ControllerInitContext, c *config.CompletedConfig, _ cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, _ controllermanager.ControllerContext) (controller.Interface, bool, error) {
		if w.metal != nil && w.metal.config.LoadBalancer == equinix.NoLoadBalancer {
			return nil, false, nil
		}
		enabled := func(name string) bool {
			return controllermanager.IsControllerEnabled(name, app.ControllersDisabledByDefault, c.ComponentConfig.Generic.Controllers)
		}
		w.once.Do(func() { w.err = w.start(ctx, c, enabled(names.ServiceLBController), enabled(classController)) })
		return nil, w.err == nil, w.err
	}
}
