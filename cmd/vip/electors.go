package main

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/record"

	"daymark/internal/agent"
	"daymark/internal/election"
)

// electors makes the electors that the configuration asks for.
type electors struct {
	n    *node
	base election.Config
	// members are the nodes that this one shares claims with, or passes a lease to; nil without an election.
	members *election.Members
	leases  []*election.Lease
}

// electionView is what /vips shows of the election.
type electionView struct {
	// Leases are the holders of the leases that this node stands for, by namespace/name; empty for none.
	Leases map[string]string `json:"leases,omitempty"`
	// Members are the other live nodes.
	Members []string `json:"members,omitempty"`
}

func (e *electors) view() any {
	v := electionView{Leases: make(map[string]string), Members: e.members.Live()}
	for _, l := range e.leases {
		v.Leases[l.Name()] = l.Holder()
	}
	return v
}

func (n *node) makeElectors(leases coordinationv1client.LeasesGetter, recorder record.EventRecorder) (*electors, error) {
	host, err := election.HostID()
	if err != nil {
		n.log.Warn("host not known; a restarted agent waits for its own lease to end", "err", err)
	}
	e := &electors{n: n, base: election.Config{
		Namespace: n.cfg.Kubernetes.Namespace, Identity: n.cfg.Node.Name, Host: host, Timing: n.cfg.Election.Timing,
		Client: leases, Log: n.log, Metrics: election.NewMetrics(n.metrics), Lock: election.LockHost, Pace: new(election.Pace),
	}}
	if !(n.cfg.ControlPlane.Enabled && n.electsControlPlane() || n.cfg.Services.Enabled && n.electsServices()) {
		return e, nil
	}
	// Agents for the control plane alone are no members of those that serve Services: both may run on one node.
	group := "control-plane"
	if n.cfg.Services.Enabled && n.electsServices() {
		group = "services"
	}
	tell := agent.NodeEvents(recorder, n.cfg.Node.Name)
	e.members, err = election.NewMembers(election.MembersConfig{
		Config: e.base, Group: group,
		Changed: func(c election.Census) {
			if n.services != nil {
				n.services.SetMembers(c)
			}
		},
		Trouble: func(text string) {
			tell(agent.Event{Type: corev1.EventTypeWarning, Reason: "ElectionTrouble", Text: text})
		},
	})
	if err != nil {
		return nil, err
	}
	n.rooms["election"] = e.view
	n.members, n.station, n.stationed = e.members, e.members.Station, n.allStationed
	if !n.cfg.Services.Enabled || !n.electsServices() {
		// It holds nothing: it only knows who could take over the lease.
		n.add(func(ctx context.Context) error {
			return e.members.Run(ctx, func(context.Context, []election.Right) error { return nil })
		})
	}
	return e, nil
}

// registered takes in the UID of this node's Node: its member Lease is to go with that.
func (n *node) registered(uid types.UID) {
	if n.members != nil {
		n.members.SetOwner(metav1.OwnerReference{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Node", Name: n.cfg.Node.Name, UID: uid})
	}
}

// electsControlPlane reports whether one node at a time holds the control plane's address.
func (n *node) electsControlPlane() bool { return n.oneAtATime() || n.cfg.Election.Enabled }

// oneAtATime reports whether the mode itself allows only one holder.
func (n *node) oneAtATime() bool { return n.cfg.Mode == ModeARP || n.cfg.Mode == ModeMetal }

// electsServices reports whether one node at a time holds a Service's address.
func (n *node) electsServices() bool {
	return n.oneAtATime() || n.cfg.Election.Enabled || n.cfg.Services.Spread == SpreadAll
}

// controlPlane returns the elector of the control plane's address.
func (e *electors) controlPlane() (*election.Healthy, error) {
	if !e.n.electsControlPlane() {
		e.n.served = func() bool { return false } // by each for itself
		return e.everyNode(), nil
	}
	lease, err := e.newLease(e.n.cfg.Election.Lease, e.n.cfg.Election.Annotations)
	if err != nil {
		return nil, err
	}
	e.n.served = func() bool { return served(lease, e.members) }
	return e.keep(lease), nil
}

// served reports whether another member has a lease and would take it again: it lives, and has no reason to hand over.
func served(lease *election.Lease, members *election.Members) bool {
	holder := lease.Holder()
	return slices.ContainsFunc(members.Candidates(lease.Name()), func(c election.Candidate) bool { return c.Node == holder })
}

// services returns the elector of the addresses of Services.
func (e *electors) services() (*election.Healthy, error) {
	if !e.n.electsServices() {
		return e.everyNode(), nil
	}
	if e.n.cfg.Services.Spread == SpreadAll {
		return e.keep(e.members), nil
	}
	lease, err := e.newLease(e.n.cfg.Services.Lease, nil)
	if err != nil {
		return nil, err
	}
	return e.keep(election.NewGated(lease, e.members)), nil
}

// everyNode returns an elector that asks nobody.
func (e *electors) everyNode() *election.Healthy {
	return e.keep(election.NewAlways(e.n.cfg.Node.Name, e.n.log))
}

// newLease returns the elector of one lease.
func (e *electors) newLease(ref LeaseRef, annotations map[string]string) (*election.Lease, error) {
	c := e.base
	c.Namespace = ref.Namespace
	l, err := election.NewLease(election.LeaseConfig{Config: c, Name: ref.Name, Annotations: annotations, Peers: e.members})
	if err != nil {
		return nil, err
	}
	e.leases = append(e.leases, l)
	return l, nil
}

// keep remembers an elector, so that it can be told of this node's health.
func (e *electors) keep(elector election.Elector) *election.Healthy {
	h := election.NewHealthy(elector)
	e.n.fitness.add(h)
	return h
}
