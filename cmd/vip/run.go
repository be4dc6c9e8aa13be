package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
	"daymark/internal/l2"
	"daymark/internal/resolve"
	"daymark/internal/route"
	"daymark/internal/vip"
)

// node is the agent of one node while it is being put together: every implementation that was chosen.
type node struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry

	kernel     *datapath.Kernel
	announcers []agent.Announcer
	lan        *l2.Announcer // nil unless the mode is ARP
	table      *route.Table  // nil unless the mode is routing table
	fitness    fitness
	around     *surroundings     // nil unless Services are enabled
	arp        *strictARP        // nil unless they are announced by ARP
	members    *election.Members // nil without an election

	station   func(mac string) string  // the member that has a hardware address, "" for a stranger; nil without an election
	stationed func(link string) bool   // whether those of all members on a link are known; nil without an election
	told      atomic.Pointer[[]string] // the links whose hardware addresses the other members are told

	holder       *agent.Holder
	controlPlane *agent.ControlPlane // nil unless enabled
	plane        *election.Healthy   // its elector
	served       func() bool         // whether another node has its address, and isn't about to hand it over
	tell         func(agent.Event)   // tells users on this node's Node; nil unless enabled
	services     *agent.Services     // nil unless enabled
	reporter     *agent.Reporter
	labels       *agent.Labels // nil unless enabled
	counts       *agent.Metrics

	ready []agent.Check
	rooms map[string]func() any // what announcers tell of themselves

	tasks []func(context.Context) error // run beside what holds, and until after it let go
}

// run is the agent, until ctx ends. What holds addresses ends first, and hands them over; then everything that it needs.
func run(ctx context.Context, loaded Loaded, log *slog.Logger) error {
	klog.SetSlogLogger(log)
	n := &node{cfg: loaded.Config, log: log, metrics: prometheus.NewRegistry(), rooms: map[string]func() any{}}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := n.open(); err != nil {
		return err
	}
	defer n.kernel.Close()
	if err := n.wire(ctx); err != nil {
		return err
	}
	log.Info("started", "version", Version(), "node", n.cfg.Node.Name, "mode", n.cfg.Mode.String(), "link", n.cfg.Links.ControlPlane)

	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	rest, base := errgroup.WithContext(base)
	for _, task := range n.tasks {
		rest.Go(func() error { return task(base) })
	}
	// Where a task fails, everything ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(base, cancel)()
	holding, ctx := errgroup.WithContext(ctx)
	if n.controlPlane != nil {
		holding.Go(func() error { return n.controlPlane.Run(ctx) })
	}
	if n.services != nil {
		holding.Go(func() error { return n.services.Run(ctx) })
	}
	err := holding.Wait()
	stop()
	err = errors.Join(err, rest.Wait(), n.tidy(ctx))
	log.Info("stopped", "err", err)
	return err
}

// tidy removes what is still on the links after everything else has ended: what is announced without an election stays
// until the announcers have withdrawn it. Under BGP graceful restart it stays for the next process.
func (n *node) tidy(ctx context.Context) error {
	stays := n.cfg.ControlPlane.Enabled && !n.electsControlPlane() || n.cfg.Services.Enabled && !n.electsServices()
	if !stays || n.cfg.BGP.Speaker.GracefulRestart > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	var err error
	if n.table != nil {
		err = n.table.Set(ctx, nil)
	}
	return errors.Join(err, n.kernel.Set(ctx, nil))
}

// open opens the kernel and finds the links.
func (n *node) open() error {
	scope := datapath.ScopeHost
	if n.cfg.Links.GlobalScopeOnLoopback {
		scope = datapath.ScopeGlobal
	}
	var err error
	n.kernel, err = datapath.Open(datapath.Config{
		Log: n.log, Metrics: n.metrics, LoopbackScope: scope, Instance: n.cfg.Instance(),
	})
	if err != nil {
		return fmt.Errorf("opening the kernel's addresses: %w", err)
	}
	if n.cfg.Links.ControlPlane == "" {
		defaults, err := datapath.Defaults()
		if err != nil {
			return errors.Join(fmt.Errorf("vip_interface is not set, and finding the link of the default route: %w", err), n.kernel.Close())
		}
		n.cfg.Links.ControlPlane = defaults[0].Link
	}
	n.cfg.Links.Services = cmp.Or(n.cfg.Links.Services, n.cfg.Links.ControlPlane)
	n.add(n.kernel.Run)
	return nil
}

func (n *node) add(task func(context.Context) error) { n.tasks = append(n.tasks, task) }

// wire makes the implementations that the configuration asks for and joins them.
func (n *node) wire(ctx context.Context) error {
	rc, err := RESTConfig(ctx, n.cfg, n.log)
	if err != nil {
		return err
	}
	n.renew(rc)
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("making the client of the API server: %w", err)
	}
	leases, err := election.NewClient(rc)
	if err != nil {
		return err
	}
	recorder := n.events(client)
	if err := n.wireAnnouncers(client, recorder); err != nil {
		return err
	}
	n.wireLabels(client)
	n.wireHolder()
	elect, err := n.makeElectors(leases, recorder)
	if err != nil {
		return err
	}
	if n.cfg.ControlPlane.Enabled {
		if err := n.wireControlPlane(elect, client, recorder); err != nil {
			return err
		}
	}
	if n.cfg.Services.Enabled {
		if err := n.wireServices(elect, client, recorder); err != nil {
			return err
		}
	}
	n.add(n.watchLinks)
	agent.CountLinks(n.metrics, n.usedLinks)
	n.add(trimMemory(n.log))
	n.add(tellSignals(ctx, n.log))
	n.wirePages()
	return nil
}

func (n *node) wireLabels(client kubernetes.Interface) {
	if !n.cfg.Services.LabelNodes {
		return
	}
	n.labels = agent.NewLabels(agent.LabelsConfig{
		Node: n.cfg.Node.Name, Client: client, ControlPlane: n.cfg.ControlPlane.Enabled, Services: n.cfg.Services.Enabled,
		Single: n.electsControlPlane(), Logger: n.log,
	})
	n.add(n.labels.Run)
}

func (n *node) wireHolder() {
	cfg := agent.HolderConfig{
		Datapath: n.kernel, Announcers: n.announcers, Overlap: n.cfg.Mode == ModeBGP || n.cfg.Mode == ModeRoutingTable, Logger: n.log,
		Changed: func(states []agent.State) {
			if n.services != nil {
				n.services.Changed(states)
			}
			if n.controlPlane != nil {
				n.controlPlane.Changed(states)
			}
		},
		Passed: func(a vip.Address) {
			if n.services != nil {
				n.services.Passed(a)
			}
			if n.controlPlane != nil {
				n.controlPlane.Passed(a)
			}
		},
	}
	if n.table != nil {
		cfg.Datapath = sweeping{n.kernel, n.table}
	}
	if n.lan != nil {
		cfg.Prober, cfg.Strangers, cfg.Listener = n.prober(), n.strangers(), lanListener{n.lan, n.stranger}
	}
	if n.cfg.ControlPlane.Enabled {
		cfg.Sources = append(cfg.Sources, agent.SourceControlPlane)
	}
	if n.cfg.Services.Enabled {
		cfg.Sources = append(cfg.Sources, agent.SourceServices)
	}
	n.counts = agent.NewMetrics(n.metrics, func() []agent.State { return n.holder.States() })
	cfg.Metrics = n.counts
	n.holder = agent.NewHolder(cfg)
	n.add(n.holder.Run)
}

func (n *node) wireControlPlane(elect *electors, client kubernetes.Interface, recorder record.EventRecorder) error {
	elector, err := elect.controlPlane()
	if err != nil {
		return err
	}
	if check := n.healthCheck(); check.URL != "" {
		n.add(func(ctx context.Context) error {
			return check.Run(ctx, func(healthy bool) { n.fitness.refuse(elector, "health", !healthy) })
		})
	}
	n.plane, n.tell = elector, agent.NodeEvents(recorder, n.cfg.Node.Name)
	n.controlPlane = agent.NewControlPlane(agent.ControlPlaneConfig{
		Resolver: resolve.Static(n.cfg.ControlPlane.Addresses), Place: n.placeControlPlane,
		Elector: elector, Holder: n.holder, Preserve: n.cfg.Election.PreserveAddress, StayAtStop: !n.electsControlPlane(), Labels: n.labels,
		Tell: n.tell, Metrics: n.counts, Logger: n.log,
	})
	watch := agent.NodeWatch{Client: client, Node: n.cfg.Node.Name, Labels: n.labels}
	if n.electsControlPlane() {
		watch.Leaving, watch.Registered = n.leaving, n.registered
	}
	if !n.cfg.Services.Enabled && (watch.Leaving != nil || watch.Labels != nil) {
		n.add(watch.Run)
	}
	return nil
}

func (n *node) wireServices(elect *electors, client kubernetes.Interface, recorder record.EventRecorder) error {
	elector, err := elect.services()
	if err != nil {
		return err
	}
	c := n.cfg.Services
	n.reporter = agent.NewReporter(agent.ReporterConfig{
		Node: n.cfg.Node.Name, Client: client, Events: recorder, Single: n.electsServices(), LeaveStatus: c.LeaveStatus,
		Metrics: n.counts, Logger: n.log,
	})
	n.add(n.reporter.Run)
	n.services = agent.NewServices(agent.ServicesConfig{
		Node: n.cfg.Node.Name, Mode: n.cfg.Mode.String(), Client: client, Namespace: c.Namespace, Holder: n.holder,
		Policy: agent.Policy{
			ClassOnly: c.Class.Only, ClassName: c.Class.Name, ClassLegacy: c.Class.Legacy,
			Link: n.cfg.Links.Services, AutoLink: n.cfg.Links.ControlPlane,
			Bits4: max(n.cfg.Links.Subnet.V4, 0), Bits6: max(n.cfg.Links.Subnet.V6, 0),
			Spread: c.Spread == SpreadAll, OnDemand: c.Spread == SpreadOnDemand, AllowedIPs: c.AllowedCIDRs,
		},
		Elector: elector, Reserved: n.promised(),
		Preserve: n.cfg.Election.PreserveAddress, GiveUpAfter: n.cfg.Election.GiveUpAfter, Detached: n.detachesServices(), StayAtStop: !n.electsServices(),
		Drain: n.cfg.BGP.Speaker.Drain, Reporter: n.reporter, Labels: n.labels, Metrics: n.counts, Leaving: n.leaving, Registered: n.registered, Logger: n.log,
	})
	n.watchSurroundings()
	if n.lan != nil {
		n.arp = n.newStrictARP(agent.NodeEvents(recorder, n.cfg.Node.Name))
	}
	return nil
}

// detachesServices reports whether addresses of Services are announced without being on a link, where all nodes that announce
// one would answer for it by ARP. kube-proxy takes their traffic all the same.
func (n *node) detachesServices() bool {
	return n.cfg.Mode == ModeRoutingTable || n.cfg.Mode == ModeBGP && !n.cfg.BGP.AttachToLink
}

// events returns what tells users on their own objects.
func (n *node) events(client kubernetes.Interface) record.EventRecorder {
	b := record.NewBroadcaster()
	b.StartRecordingToSink(agent.Once(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")}))
	n.add(func(ctx context.Context) error {
		<-ctx.Done()
		b.Shutdown()
		return nil
	})
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "vip", Host: n.cfg.Node.Name})
}
