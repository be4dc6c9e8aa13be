package main

import (
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"daymark/internal/agent"
	"daymark/internal/election"
)

// electorMaker makes the electors that the configuration asks for.
type electorMaker struct {
	n    *node
	base election.Config
}

func (n *node) electorMaker(leases coordinationv1client.LeasesGetter) (electorMaker, error) {
	host, err := election.HostID()
	if err != nil {
		n.log.Warn("host not known; a restarted agent waits for its own lease to end", "err", err)
	}
	return electorMaker{n: n, base: election.Config{
		Namespace: n.cfg.Kubernetes.Namespace, Identity: n.cfg.Node.Name, Host: host, Timing: n.cfg.Election.Timing,
		Client: leases, Log: n.log, Metrics: election.NewMetrics(n.metrics),
	}}, nil
}

// lease returns the elector of one lease, or one that needs no lease where every node may hold.
func (m electorMaker) lease(ref LeaseRef, annotations map[string]string) (*election.Healthy, error) {
	if !m.n.elected() {
		return m.keep(election.NewAlways(m.n.cfg.Node.Name, m.n.log)), nil
	}
	c := m.base
	c.Namespace = ref.Namespace
	l, err := election.NewLease(election.LeaseConfig{Config: c, Name: ref.Name, Annotations: annotations})
	if err != nil {
		return nil, err
	}
	return m.keep(l), nil
}

// services returns the elector of what is held by one node, and of what is spread over all.
func (m electorMaker) services() (shared, spread agent.Elector, err error) {
	e, err := m.lease(m.n.cfg.Services.Lease, nil)
	return e, e, err
}

// keep remembers an elector, so that it can be told of this node's health.
func (m electorMaker) keep(e election.Elector) *election.Healthy {
	h := election.NewHealthy(e)
	m.n.electors = append(m.n.electors, h)
	return h
}
