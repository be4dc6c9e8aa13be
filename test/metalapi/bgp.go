package metalapi

import "net/http"

// The service's own peers: every device reaches them over more than one hop (their AS is the service's).
const serviceAS = 65530

var servicePeers = [...]string{"169.254.255.1", "169.254.255.2"}

func (s *Server) getBGPConfig(*http.Request) (int, any) {
	if s.bgp == nil { // the service answers an unconfigured project with an empty object
		return http.StatusOK, map[string]any{}
	}
	return http.StatusOK, s.bgp
}

func (s *Server) enableBGP(r *http.Request) (int, any) {
	var in struct {
		ASN            int64  `json:"asn"`
		MD5            string `json:"md5"`
		DeploymentType string `json:"deployment_type"`
	}
	if status, body := decode(r, &in); status != 0 {
		return status, body
	}
	if s.bgp != nil {
		return http.StatusUnprocessableEntity, failure("Project already has a BGP configuration")
	}
	if in.DeploymentType != "local" {
		return http.StatusUnprocessableEntity, failure("deployment_type must be local here")
	}
	id := s.idLocked()
	s.bgp = &bgpConfig{ID: id, ASN: in.ASN, MD5: in.MD5, DeploymentType: in.DeploymentType, Status: "enabled", MaxPrefix: 10, Href: href("bgp-configs", id).Href}
	return http.StatusNoContent, nil
}

func (s *Server) projectSessions(*http.Request) (int, any) {
	out := []session{}
	for _, d := range s.devices {
		out = append(out, d.sessions...)
	}
	return http.StatusOK, map[string]any{"bgp_sessions": out}
}

func (s *Server) deviceSessions(r *http.Request) (int, any) {
	d := s.deviceLocked(r.PathValue("device"))
	if d == nil {
		return notFound()
	}
	return http.StatusOK, map[string]any{"bgp_sessions": append([]session{}, d.sessions...)}
}

func (s *Server) createSession(r *http.Request) (int, any) {
	d := s.deviceLocked(r.PathValue("device"))
	if d == nil {
		return notFound()
	}
	var in struct {
		AddressFamily string `json:"address_family"`
	}
	if status, body := decode(r, &in); status != 0 {
		return status, body
	}
	if s.bgp == nil {
		return http.StatusUnprocessableEntity, failure("BGP is not enabled for this project")
	}
	for _, have := range d.sessions {
		if have.AddressFamily == in.AddressFamily {
			return http.StatusUnprocessableEntity, failure("Device already has session for " + in.AddressFamily)
		}
	}
	id := s.idLocked()
	made := session{ID: id, AddressFamily: in.AddressFamily, Status: "up", Device: href("devices", d.ID), Href: href("bgp/sessions", id).Href}
	d.sessions = append(d.sessions, made)
	return http.StatusCreated, made
}

func (s *Server) deviceNeighbours(r *http.Request) (int, any) {
	d := s.deviceLocked(r.PathValue("device"))
	if d == nil {
		return notFound()
	}
	out := []Neighbour{}
	if set, ok := s.neighbours[d.ID]; ok && len(d.sessions) > 0 {
		out = append(out, set...)
	} else if s.bgp != nil {
		for _, have := range d.sessions {
			if have.AddressFamily != "ipv4" {
				continue
			}
			out = append(out, Neighbour{
				AddressFamily: 4, CustomerAS: int(s.bgp.ASN), CustomerIP: d.Private.Addr().String(), MD5Enabled: s.bgp.MD5 != "",
				MD5Password: s.bgp.MD5, Multihop: true, PeerAS: serviceAS, PeerIPs: servicePeers[:],
			})
		}
	}
	return http.StatusOK, map[string]any{"bgp_neighbors": out}
}
