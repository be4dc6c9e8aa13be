package main

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"daymark/internal/agent"
	"daymark/internal/bgp"
	"daymark/internal/datapath"
	"daymark/internal/l2"
	"daymark/internal/route"
)

// wireAnnouncers makes what leads traffic here.
func (n *node) wireAnnouncers(client kubernetes.Interface, recorder record.EventRecorder) error {
	switch n.cfg.Mode {
	case ModeARP:
		lan, err := l2.New(l2.Config{Log: n.log, Metrics: n.metrics, Period: n.cfg.ARP.Refresh, Heard: n.heard})
		if err != nil {
			return fmt.Errorf("opening ARP and NDP: %w", err)
		}
		n.lan = lan
		n.announcers = append(n.announcers, lan)
		n.add(lan.Run)
		return nil
	case ModeMetal:
		return n.wireMetal(recorder)
	case ModeBGP:
		lookup, err := n.metalPeers()
		if err != nil {
			return err
		}
		n.restartGracefully()
		n.fitness.yield(nil, "bgp", "no session with a router yet")
		speaker := bgp.New(bgp.Options{Logger: n.log, Session: agent.SessionEvents(recorder, n.cfg.Node.Name), Connected: n.connected})
		n.metrics.MustRegister(speaker.Collector())
		n.announcers = append(n.announcers, speaker)
		n.add(speaker.Run)
		peering := agent.NewPeering(agent.PeeringConfig{
			Prefix: n.cfg.BGP.Annotations, Lookup: lookup, Base: n.cfg.BGP.Speaker, NodeName: n.cfg.Node.Name, Namespace: n.cfg.Kubernetes.Namespace,
			Client: client, Speaker: speaker, Events: recorder, Logger: n.log,
		})
		n.add(peering.Run)
		n.rooms["bgp"] = func() any { return speaker.Peers() }
		n.ready = append(n.ready, agent.Check{Name: "bgp", Test: func() error {
			if why := peering.Waiting(); why != "" {
				return errors.New(why)
			}
			return nil
		}})
		return nil
	case ModeRoutingTable:
		c := n.cfg.RoutingTable
		table, err := route.Open(route.Config{
			Log: n.log, Metrics: n.metrics, Table: int(c.ID), Protocol: int(c.Protocol), Type: int(c.Type), Clean: c.Clean,
		})
		if err != nil {
			return fmt.Errorf("opening routing table %d: %w", c.ID, err)
		}
		n.table = table
		n.announcers = append(n.announcers, table)
		n.add(table.Run)
		return nil
	}
	return fmt.Errorf("mode %s is not in this version", n.cfg.Mode)
}

// sweeping is the kernel's addresses, and our routes with them: what a former run left goes at one time.
type sweeping struct {
	*datapath.Kernel
	table *route.Table
}

// Sweep removes what was left and nobody wants.
func (s sweeping) Sweep(ctx context.Context) error {
	return errors.Join(s.Kernel.Sweep(ctx), s.table.Sweep(ctx))
}
