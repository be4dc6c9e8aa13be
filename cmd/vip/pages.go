package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"daymark/internal/agent"
)

// wirePages makes the pages that are shown over HTTP. Another program on the port is no reason not to hold addresses.
func (n *node) wirePages() {
	pages := &agent.Pages{Metrics: n.metrics, View: n.view, Ready: n.ready}
	if n.controlPlane != nil {
		pages.Ready = append(pages.Ready, agent.Check{Name: "control plane", Test: n.controlPlane.Ready})
	}
	if n.services != nil {
		pages.Ready = append(pages.Ready, agent.Check{Name: "services", Test: n.services.Ready})
	}
	if at := n.cfg.HTTP.Metrics; at != "" {
		n.add(func(ctx context.Context) error { return agent.ListenAndServe(ctx, at, pages.Routes(), n.log) })
	}
	if port := n.cfg.HTTP.HealthPort; port != 0 {
		at := net.JoinHostPort("", fmt.Sprint(port))
		n.add(func(ctx context.Context) error { return agent.ListenAndServe(ctx, at, pages.Health(), n.log) })
	}
}

func (n *node) view() agent.View {
	v := agent.View{Node: n.cfg.Node.Name, Mode: n.cfg.Mode.String(), At: time.Now(), Addresses: agent.AddressViews(n.holder.States())}
	if n.services != nil {
		v.Services = n.services.View()
	}
	if len(n.rooms) > 0 {
		v.Rooms = map[string]any{}
	}
	for name, tell := range n.rooms {
		v.Rooms[name] = tell()
	}
	return v
}
