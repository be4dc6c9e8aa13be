package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
)

// fitness joins the reasons for which this node should hand over what it holds, or must not hold it at all. Its zero value
// has none. Safe for concurrent use.
type fitness struct {
	mu       sync.Mutex
	electors []*election.Healthy
	yields   map[string]string // why, by who says it
	refusals map[*election.Healthy]map[string]bool
}

func (f *fitness) add(e *election.Healthy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.electors = append(f.electors, e)
	if len(f.yields) > 0 {
		e.Yield()
	}
}

// yield takes in that who wants everything handed over, for a reason; "" for no longer.
func (f *fitness) yield(who, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.yields) > 0
	if f.yields == nil {
		f.yields = make(map[string]string)
	}
	if reason == "" {
		delete(f.yields, who)
	} else {
		f.yields[who] = reason
	}
	now := len(f.yields) > 0
	if now == before {
		return
	}
	for _, e := range f.electors {
		if now {
			e.Yield()
		} else {
			e.Resume()
		}
	}
}

// leaving takes in why this node should hand over what it holds, as its Node says; "" for no longer.
func (n *node) leaving(reason string) {
	if reason == "" {
		n.log.Info("node may hold addresses again")
	} else {
		n.log.Info("handing over", "reason", reason)
	}
	n.fitness.yield("node", reason)
}

// refuse takes in that an elector must not hold anything, as who says, or may again. A nil elector means all.
func (f *fitness) refuse(only *election.Healthy, who string, refused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.electors {
		if only != nil && e != only {
			continue
		}
		if f.refusals == nil {
			f.refusals = make(map[*election.Healthy]map[string]bool)
		}
		if f.refusals[e] == nil {
			f.refusals[e] = make(map[string]bool)
		}
		if refused {
			f.refusals[e][who] = true
		} else {
			delete(f.refusals[e], who)
		}
		e.SetHealthy(len(f.refusals[e]) == 0)
	}
}

// watchLinks hands over when the link that holds addresses loses its carrier, which nobody else may notice as soon; and gives
// everything up when it stays so.
func (n *node) watchLinks(ctx context.Context) error {
	c := carrier{fitness: &n.fitness, after: n.cfg.Election.GiveUpAfter, changed: n.setCarrier, log: n.log}
	defer c.stop()
	return n.kernel.WatchLinks(ctx, func(links []datapath.Link) {
		if n.members != nil && n.lan != nil {
			n.members.SetStations(stations(links, n.cfg.Links.ControlPlane, n.cfg.Links.Services))
		}
		if n.around != nil {
			n.around.setLinks(links)
		}
		c.set(n.downLink(links))
	})
}

// setCarrier says whether the links for addresses can carry traffic.
func (n *node) setCarrier(there bool) {
	if n.controlPlane != nil {
		n.controlPlane.SetCarrier(there)
	}
	if n.services != nil {
		n.services.SetCarrier(there)
	}
}

// downLink returns the first of the links for addresses that can't carry traffic, or "".
func (n *node) downLink(links []datapath.Link) string {
	for _, name := range []string{n.cfg.Links.ControlPlane, n.cfg.Links.Services} {
		i := slices.IndexFunc(links, func(l datapath.Link) bool { return l.Name == name })
		if name != AutoLink && (i < 0 || !links[i].Usable()) {
			return name
		}
	}
	return ""
}

// healthCheck returns how the API server's health is asked for. Where every node announces the control plane's address, a node whose API server
// is down gets its share of the connections all the same, so there it is asked for also when nobody said where.
func (n *node) healthCheck() agent.HealthCheck {
	h := n.cfg.ControlPlane.Health
	check := agent.HealthCheck{URL: h.URL, Period: h.Period, Timeout: h.Timeout, Failures: h.Failures, CAFile: h.CAFile, Logger: n.log}
	if check.URL == "" && !n.electsControlPlane() {
		check.URL, check.CAFile, check.Unasked = fmt.Sprintf("https://127.0.0.1:%d/livez", n.cfg.ControlPlane.Port), "", true
	}
	return check
}
