package main

import (
	"context"
	"fmt"
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
	yields   map[*election.Healthy]map[string]string // why, by who says it
	everyone map[string]string                       // the same, of all electors
	refusals map[*election.Healthy]map[string]bool
}

func (f *fitness) add(e *election.Healthy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.electors = append(f.electors, e)
	if len(f.everyone) > 0 {
		e.Yield()
	}
}

// yield takes in that who wants everything that an elector has handed over, for a reason; "" for no longer. A nil elector means all.
func (f *fitness) yield(only *election.Healthy, who, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := make(map[*election.Healthy]bool, len(f.electors))
	for _, e := range f.electors {
		before[e] = f.yieldsLocked(e)
	}
	if f.yields == nil {
		f.yields, f.everyone = make(map[*election.Healthy]map[string]string), make(map[string]string)
	}
	reasons := f.everyone
	if only != nil {
		if f.yields[only] == nil {
			f.yields[only] = make(map[string]string)
		}
		reasons = f.yields[only]
	}
	if reason == "" {
		delete(reasons, who)
	} else {
		reasons[who] = reason
	}
	for _, e := range f.electors {
		switch now := f.yieldsLocked(e); {
		case now && !before[e]:
			e.Yield()
		case before[e] && !now:
			e.Resume()
		}
	}
}

func (f *fitness) yieldsLocked(e *election.Healthy) bool { return len(f.everyone)+len(f.yields[e]) > 0 }

// leaving takes in why this node should hand over what it holds, as its Node says; "" for no longer.
func (n *node) leaving(reason string) {
	if reason == "" {
		n.log.Info("node may hold addresses again")
	} else {
		n.log.Info("handing over", "reason", reason)
	}
	n.fitness.yield(nil, "node", reason)
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

// watchLinks tells what needs it how the links are. The control plane's address is handed over when its link can't carry traffic, which nobody
// else may notice as soon, and given up when it stays so.
func (n *node) watchLinks(ctx context.Context) error {
	c := carrier{
		after: n.cfg.Election.GiveUpAfter, log: n.log, link: n.cfg.Links.ControlPlane, fitness: &n.fitness, elector: n.plane, served: n.served, tell: n.tell,
	}
	if n.controlPlane != nil {
		c.changed = n.controlPlane.SetCarrier
	}
	defer c.stop()
	return n.kernel.WatchLinks(ctx, func(links []datapath.Link) {
		if n.members != nil && n.lan != nil {
			n.tellStations(links)
		}
		if n.around != nil {
			n.around.setLinks(links)
		}
		if n.arp != nil {
			n.arp.set(links)
		}
		if n.controlPlane != nil {
			c.set(links)
		}
	})
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
