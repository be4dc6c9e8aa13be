package agent

import (
	"slices"
	"time"
)

// View is what the page /vips shows, and `vip status` prints.
type View struct {
	Node      string        `json:"node"`
	Mode      string        `json:"mode"`
	At        time.Time     `json:"at"`
	Addresses []AddressView `json:"addresses"`
	Services  []ServiceView `json:"services,omitempty"`
	// Rooms is what the announcers tell of themselves, by name, such as the BGP peers.
	Rooms map[string]any `json:"rooms,omitempty"`
}

// AddressView is an address that this node holds or is about to.
type AddressView struct {
	Address string    `json:"address"`
	Link    string    `json:"link"`
	Phase   Phase     `json:"phase"`
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since"`
	// Until is when the right ends unless renewed; absent means never.
	Until *time.Time `json:"until,omitempty"`
}

// ServiceView is a Service that is ours, and why this node does not hold it.
type ServiceView struct {
	Service   string   `json:"service"`
	Addresses []string `json:"addresses,omitempty"`
	Claim     string   `json:"claim,omitempty"`
	Held      bool     `json:"held"`
	Reason    string   `json:"reason,omitempty"`
}

// AddressViews shows states.
func AddressViews(states []State) []AddressView {
	out := make([]AddressView, 0, len(states))
	for _, s := range states {
		v := AddressView{Address: s.Address.Prefix.String(), Link: s.Address.Link, Phase: s.Phase, Problem: s.Problem, Since: s.Since}
		if !s.Address.Until.IsZero() {
			v.Until = &s.Address.Until
		}
		out = append(out, v)
	}
	return out
}

// View returns every Service that is ours, sorted by name.
func (s *Services) View() []ServiceView {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make(map[Name]struct{}, len(s.groups.wishes))
	for name := range s.groups.wishes {
		names[name] = struct{}{}
	}
	for name := range s.reasons {
		names[name] = struct{}{}
	}
	sorted := make([]Name, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.SortFunc(sorted, compareNames)
	out := make([]ServiceView, 0, len(sorted))
	for _, name := range sorted {
		out = append(out, s.viewLocked(name))
	}
	return out
}

func (s *Services) viewLocked(name Name) ServiceView {
	v := ServiceView{Service: name.String(), Reason: s.reasons[name].Text}
	w, ok := s.groups.wishes[name]
	if !ok {
		return v
	}
	for _, a := range w.Addresses {
		v.Addresses = append(v.Addresses, a.Prefix.Addr().String())
	}
	g := s.groups.of[name]
	v.Claim = g.Claim.Name
	right, mine := s.rights[g.Claim.Name]
	v.Held = mine && w.Active && !right.Passing
	if v.Reason == "" && w.Active {
		v.Reason = g.links.trouble
	}
	if !w.Active || v.Held {
		return v
	}
	switch {
	case v.Reason != "":
	case s.objects != nil && s.leaves(g):
		v.Reason = "this node is " + s.leaving
	default:
		v.Reason = "another node may hold it"
	}
	return v
}

// Ready returns nil once everything was read from the API server and the elector has spoken.
func (s *Services) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return errNotRead
	}
	if !s.spoken {
		return errNotElected
	}
	return nil
}

// Ready returns nil once the control plane's addresses are known and the elector has spoken.
func (c *ControlPlane) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.addresses) == 0:
		return errNoAddress
	case !c.spoken:
		return errNotElected
	}
	return nil
}

const (
	errNotRead    = sentinel("Services, EndpointSlices and Nodes are not all read from the API server yet")
	errNotElected = sentinel("the election has not decided yet")
	errNoAddress  = sentinel("the control plane's address is not known yet")
)

type sentinel string

func (s sentinel) Error() string { return string(s) }
