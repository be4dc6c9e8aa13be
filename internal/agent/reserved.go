package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"daymark/annotations"
)

// controlPlaneAddress is what an address of the control plane is refused as.
const controlPlaneAddress = "the control plane's address"

// endpointsWait is how long Services wait at the start until it is read which addresses are the control plane's.
const endpointsWait = 3 * time.Second

// readReserved reads what no Service may have, as far as it isn't in the Nodes.
func (o *objects) readReserved(ctx context.Context, log *slog.Logger) {
	defer close(o.asked)
	if !cache.WaitForCacheSync(ctx.Done(), o.nodes.HasSynced) {
		return
	}
	read := make(chan struct{})
	o.reading.Go(func() {
		defer close(read)
		o.readEndpoints(ctx, log)
	})
	o.followRanges(ctx, log)
	late := time.NewTimer(endpointsWait)
	defer late.Stop()
	select {
	case <-read:
	case <-late.C: // ConfigMaps may be encrypted by what is away just now
	case <-ctx.Done():
	}
}

// readEndpoints reads the control plane's addresses that kubeadm publishes, once: they are in every kubelet's kubeconfig, and don't change.
// Nodes are labelled with them at most, and only while they have them, but a Service that asks for one waits until nobody has it.
func (o *objects) readEndpoints(ctx context.Context, log *slog.Logger) {
	failed := false
	persist(ctx, 30*time.Second, func() error {
		info, err := o.client.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{})
		switch {
		case err == nil:
			addrs := endpointsIn(info)
			o.endpoints.Store(&addrs)
			o.inbox.facts()
		case denied(err):
			log.Debug("cluster-info is not readable; the control plane's address is known by settings and labels alone", "err", err)
		case !failed && ctx.Err() == nil:
			failed = true
			log.Warn("cluster-info can't be read, trying on", "err", err)
		}
		return err
	})
}

// persist reads again and again, after a second and then ever longer up to longest, until there is an answer, if only that there is
// nothing to see, or ctx ends.
func persist(ctx context.Context, longest time.Duration, read func() error) {
	for pause := time.Second; ; pause = min(2*pause, longest) {
		if err := read(); err == nil || denied(err) {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// endpointsIn returns the addresses in the kubeconfig that kubeadm publishes; names are left out.
func endpointsIn(info *corev1.ConfigMap) []netip.Addr {
	config, err := clientcmd.Load([]byte(info.Data["kubeconfig"]))
	if err != nil {
		return nil // it isn't kubeadm's
	}
	var out []netip.Addr
	for _, cluster := range config.Clusters {
		server, err := url.Parse(cluster.Server)
		if err != nil {
			continue
		}
		if addr, err := netip.ParseAddr(server.Hostname()); err == nil {
			out = append(out, addr.Unmap().WithZone(""))
		}
	}
	return out
}

// followRanges follows the Service CIDRs where it may; they are not in old API servers, nor in the roles of old manifests. That an API
// server can't answer now is no such reason: what it would tell is asked for until it does.
func (o *objects) followRanges(ctx context.Context, log *slog.Logger) {
	if _, err := o.client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{Limit: 1}); denied(err) {
		log.Debug("service CIDRs are not readable; only the API server's own cluster address is refused", "err", err)
		o.readCluster(ctx)
		return
	}
	f := informers.NewSharedInformerFactory(o.client, 0)
	o.factories = append(o.factories, f)
	o.ranges = f.Networking().V1().ServiceCIDRs().Informer()
	if _, err := o.ranges.AddEventHandler(handler(func(any) { o.inbox.facts() })); err != nil {
		log.Error("following service CIDRs failed", "err", err)
	}
	f.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), o.ranges.HasSynced)
}

// readCluster reads the API server's own cluster address, where there is one to read.
func (o *objects) readCluster(ctx context.Context) {
	persist(ctx, time.Second, func() error {
		svc, err := o.client.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
		if err == nil {
			o.cluster, _ = netip.ParseAddr(svc.Spec.ClusterIP)
		}
		return err
	})
}

// denied reports whether err says that there is no such thing, or that this agent may not see it.
func denied(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err)
}

// reserved returns what Nodes, the control plane and Service CIDRs have and no Service may. Who has the control plane's addresses may be
// labelled so: agents for Services alone may not have been told of them.
func (o *objects) reserved() []Reserved {
	var out []Reserved
	add := func(addr netip.Addr, what string) {
		out = append(out, Reserved{netip.PrefixFrom(addr, addr.BitLen()), what})
	}
	if addrs := o.endpoints.Load(); addrs != nil {
		for _, addr := range *addrs {
			add(addr, controlPlaneAddress)
		}
	}
	for _, obj := range o.nodes.GetStore().List() {
		node, ok := obj.(*corev1.Node)
		if !ok {
			continue
		}
		for _, a := range node.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil {
				add(addr.Unmap().WithZone(""), "an address of node "+node.Name)
			}
		}
		vips, _ := annotations.ParseLabelAddresses(node.Labels[annotations.HasIPLabel]) // what is no address refuses nothing
		for _, addr := range vips {
			add(addr, controlPlaneAddress)
		}
		for _, cidr := range node.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				out = append(out, Reserved{p, "in the pod network of node " + node.Name})
			}
		}
	}
	if o.cluster.IsValid() {
		add(o.cluster, "the cluster address of the API server")
	}
	if o.ranges == nil {
		return out
	}
	for _, obj := range o.ranges.GetStore().List() {
		if r, ok := obj.(*networkingv1.ServiceCIDR); ok {
			for _, cidr := range r.Spec.CIDRs {
				if p, err := netip.ParsePrefix(cidr); err == nil {
					out = append(out, Reserved{p, "in the cluster's service network"})
				}
			}
		}
	}
	return out
}
