package metalapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Device is a server of the project.
type Device struct {
	ID       string
	Hostname string
	Plan     string // slug, such as c3.small.x86
	State    string // active, powering_off, inactive, deleted …
	// Public and Private are the addresses that it was delivered with, with their block's length.
	Public, Private netip.Prefix
	Gateway         netip.Addr
	sessions        []session
}

type session struct {
	ID            string `json:"id"`
	AddressFamily string `json:"address_family"`
	Status        string `json:"status"`
	Device        Href   `json:"device"`
	Href          string `json:"href"`
}

// Neighbour is what the API tells a device of one of its BGP peers.
type Neighbour struct {
	AddressFamily int      `json:"address_family"` // 4 or 6
	CustomerAS    int      `json:"customer_as"`
	CustomerIP    string   `json:"customer_ip"`
	MD5Enabled    bool     `json:"md5_enabled"`
	MD5Password   string   `json:"md5_password,omitempty"`
	Multihop      bool     `json:"multihop"`
	PeerAS        int      `json:"peer_as"`
	PeerIPs       []string `json:"peer_ips"`
}

type bgpConfig struct {
	ID             string `json:"id"`
	ASN            int64  `json:"asn"`
	MD5            string `json:"md5,omitempty"`
	DeploymentType string `json:"deployment_type"`
	Status         string `json:"status"`
	MaxPrefix      int    `json:"max_prefix"`
	Href           string `json:"href"`
}

// AddDevice adds a server; a zero State is "active", a zero Plan "c3.small.x86". Its ID is made if empty, and returned.
func (s *Server) AddDevice(d Device) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.ID == "" {
		d.ID = s.idLocked()
	}
	if d.State == "" {
		d.State = "active"
	}
	if d.Plan == "" {
		d.Plan = "c3.small.x86"
	}
	s.devices = append(s.devices, &d)
	return d.ID
}

// SetDeviceState changes a device's state; "gone" removes it, and with it its assignments, as deprovisioning does.
func (s *Server) SetDeviceState(id, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != "gone" {
		if d := s.deviceLocked(id); d != nil {
			d.State = state
		}
		return
	}
	s.devices = slices.DeleteFunc(s.devices, func(d *Device) bool { return d.ID == id })
	for _, r := range s.reservations {
		r.Assignments = slices.DeleteFunc(r.Assignments, func(a Assignment) bool {
			here := strings.HasSuffix(a.AssignedTo.Href, "/"+id)
			if here {
				s.routeLocked(a.Address, "")
			}
			return here
		})
	}
}

// SetNeighbours replaces the BGP peers that the API tells a device once it has a session; without it, the usual two
// multihop peers of the service are told.
func (s *Server) SetNeighbours(device string, n ...Neighbour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.neighbours[device] = n
}

func (s *Server) deviceLocked(id string) *Device {
	i := slices.IndexFunc(s.devices, func(d *Device) bool { return d.ID == id })
	if i < 0 {
		return nil
	}
	return s.devices[i]
}

// deviceJSON renders a device with its own addresses first and then what is assigned to it.
func (s *Server) deviceJSONLocked(d *Device) map[string]any {
	m := metro{ID: "metro", Code: s.cfg.Metro, Name: s.cfg.Metro}
	return map[string]any{
		"id": d.ID, "short_id": d.ID[:8], "hostname": d.Hostname, "state": d.State, "href": href("devices", d.ID).Href,
		"plan": map[string]any{"slug": d.Plan, "name": d.Plan}, "metro": m, "tags": []string{},
		"facility":     map[string]any{"code": s.cfg.Metro + "11", "name": s.cfg.Metro + "11"},
		"ip_addresses": s.assignmentsLocked(d), "project_lite": map[string]any{"href": href("projects", s.cfg.Project).Href},
	}
}

func (s *Server) assignmentsLocked(d *Device) []Assignment {
	out := []Assignment{}
	for _, own := range []struct {
		prefix netip.Prefix
		public bool
	}{{d.Public, true}, {d.Private, false}} {
		if !own.prefix.IsValid() {
			continue
		}
		id := d.ID + "-" + own.prefix.Addr().String()
		block := own.prefix.Masked()
		a := Assignment{
			ID: id, Address: own.prefix.Addr().String(), Network: block.Addr().String(), CIDR: own.prefix.Bits(),
			AddressFamily: family(own.prefix.Addr()), Public: own.public, Manageable: false, Management: true,
			AssignedTo: href("devices", d.ID), Href: href("ips", id).Href,
			ParentBlock: &parentBlock{Network: block.Addr().String(), CIDR: own.prefix.Bits(), Href: href("ips", id+"-block").Href},
		}
		if d.Gateway.IsValid() {
			a.Gateway = d.Gateway.String()
		}
		out = append(out, a)
	}
	for _, r := range s.reservations {
		for _, a := range r.Assignments {
			if a.AssignedTo == href("devices", d.ID) {
				out = append(out, a)
			}
		}
	}
	return out
}

func (s *Server) listDevices(r *http.Request) (int, any) {
	hostname := r.URL.Query().Get("hostname")
	var all []*Device
	for _, d := range s.devices {
		if hostname == "" || strings.Contains(d.Hostname, hostname) {
			all = append(all, d)
		}
	}
	cut, m := page(r, all, 10)
	out := []any{}
	for _, d := range cut {
		out = append(out, s.deviceJSONLocked(d))
	}
	return http.StatusOK, map[string]any{"devices": out, "meta": m}
}

func (s *Server) getDevice(r *http.Request) (int, any) {
	if d := s.deviceLocked(r.PathValue("device")); d != nil {
		return http.StatusOK, s.deviceJSONLocked(d)
	}
	return notFound()
}

func (s *Server) listAssignments(r *http.Request) (int, any) {
	d := s.deviceLocked(r.PathValue("device"))
	if d == nil {
		return notFound()
	}
	return http.StatusOK, map[string]any{"ip_addresses": s.assignmentsLocked(d)}
}

func (s *Server) listMetros(*http.Request) (int, any) {
	return http.StatusOK, map[string]any{"metros": []metro{{ID: "metro", Code: s.cfg.Metro, Name: s.cfg.Metro}}}
}
