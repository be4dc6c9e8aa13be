package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	"daymark/internal/agent"
	"daymark/provider/equinix"
)

// metal is Equinix Metal's API as this node sees it: who it is there, and as whom it asks.
type metal struct {
	client  equinix.ClientConfig
	project string // name; asked for when the client has no ID
	node    *node
}

// newMetal reads the file that the settings name; the settings are stronger. It makes no call.
func (n *node) newMetal() (*metal, error) {
	c := n.cfg.Metal
	m := &metal{project: c.Project, node: n}
	if c.ConfigFile != "" {
		text, err := os.ReadFile(c.ConfigFile)
		if err != nil {
			return nil, fmt.Errorf("provider_config: %w", err)
		}
		if m.client, err = equinix.ParseClientConfig(text); err != nil {
			return nil, fmt.Errorf("provider_config %s: %w", c.ConfigFile, err)
		}
	}
	m.client.Token = cmp.Or(c.Key, m.client.Token)
	if c.Project != "" {
		m.client.Project = ""
	}
	m.client.Project = cmp.Or(c.ProjectID, m.client.Project)
	m.client.UserAgent = "vip/" + Version()
	if m.client.Project == "" && m.project == "" {
		return nil, errors.New("vip_packetprojectid is not set, and provider_config has no projectId")
	}
	checked := m.client
	checked.Project = cmp.Or(checked.Project, m.project)
	_, err := equinix.NewClient(checked)
	return m, err
}

// connect returns the API and the device that this is.
func (m *metal) connect(ctx context.Context) (*equinix.Client, string, error) {
	cfg := m.client
	if cfg.Project == "" {
		id, err := equinix.ProjectNamed(ctx, cfg, m.project)
		if err != nil {
			return nil, "", err
		}
		cfg.Project = id
	}
	client, err := equinix.NewClient(cfg)
	if err != nil {
		return nil, "", err
	}
	devices, err := client.Devices(ctx)
	if err != nil {
		return nil, "", err
	}
	var here []netip.Addr
	for _, l := range m.node.kernel.Links() {
		for _, p := range l.Own {
			here = append(here, p.Addr())
		}
	}
	device, err := equinix.OwnDevice(devices, m.node.cfg.Node.Name, here)
	return client, device.ID, err
}

// metalPeers returns what asks the API for the BGP peers of this device, or nil where they come from elsewhere.
func (n *node) metalPeers() (func(context.Context) (annotations.NodeBGP, error), error) {
	if !n.cfg.Metal.Enabled || n.cfg.BGP.Annotations != "" {
		return nil, nil
	}
	m, err := n.newMetal()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (annotations.NodeBGP, error) {
		client, device, err := m.connect(ctx)
		if err != nil {
			return annotations.NodeBGP{}, err
		}
		return equinix.NodeBGP(ctx, client, device)
	}, nil
}

// secretArguments returns the keys of secrets that were given as flags.
func (l Loaded) secretArguments() []string {
	var out []string
	for _, v := range l.Values {
		if v.setting.secret && v.Text != v.plain && strings.HasPrefix(v.Source, fromFlag.String()+" ") {
			out = append(out, v.Key)
		}
	}
	return out
}

// wireMetal makes what assigns the control plane's address to this device.
func (n *node) wireMetal(recorder record.EventRecorder) error {
	m, err := n.newMetal()
	if err != nil {
		return err
	}
	tell := agent.NodeEvents(recorder, n.cfg.Node.Name)
	announcer := equinix.NewAnnouncer(equinix.AnnouncerConfig{
		Connect: func(ctx context.Context) (equinix.AssignAPI, string, error) { return m.connect(ctx) },
		Assigned: func(addr netip.Addr, err error) {
			if err != nil {
				tell(agent.Event{Type: corev1.EventTypeWarning, Reason: "ControlPlaneAddressNotAssigned", Text: fmt.Sprintf("%s: %s", addr, err)})
				return
			}
			tell(agent.Event{Type: corev1.EventTypeNormal, Reason: "ControlPlaneAddressAssigned", Text: addr.String() + " is assigned to this node's device"})
		},
		Log: n.log,
	})
	n.announcers = append(n.announcers, announcer)
	n.add(announcer.Run)
	n.rooms["equinix metal"] = func() any { return announcer.View() }
	n.ready = append(n.ready, agent.Check{Name: "equinix metal", Test: func() error {
		for _, s := range announcer.View() {
			if !s.Here {
				return fmt.Errorf("%s is not assigned to this device yet: %s", s.Addr, s.Problem)
			}
		}
		return nil
	}})
	return nil
}
