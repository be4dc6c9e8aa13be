package metalapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Reservation is a block of one address that the project owns.
type Reservation struct {
	ID            string       `json:"id"`
	Type          string       `json:"type"` // public_ipv4, private_ipv4
	Address       string       `json:"address"`
	Network       string       `json:"network"`
	CIDR          int          `json:"cidr"`
	AddressFamily int          `json:"address_family"`
	Public        bool         `json:"public"`
	Manageable    bool         `json:"manageable"`
	State         string       `json:"state"`
	Details       string       `json:"details,omitempty"`
	Tags          []string     `json:"tags"`
	Href          string       `json:"href"`
	Metro         *metro       `json:"metro,omitempty"`
	Assignments   []Assignment `json:"assignments"`
}

// Assignment is an address at a device.
type Assignment struct {
	ID            string       `json:"id"`
	Address       string       `json:"address"`
	Network       string       `json:"network"`
	CIDR          int          `json:"cidr"`
	AddressFamily int          `json:"address_family"`
	Public        bool         `json:"public"`
	Manageable    bool         `json:"manageable"`
	Management    bool         `json:"management"`
	Gateway       string       `json:"gateway,omitempty"`
	AssignedTo    Href         `json:"assigned_to"`
	Href          string       `json:"href"`
	ParentBlock   *parentBlock `json:"parent_block,omitempty"`
}

type parentBlock struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	CIDR    int    `json:"cidr"`
	Href    string `json:"href"`
}

type metro struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
}

// Reservations returns copies of what the project owns, oldest first.
func (s *Server) Reservations() []Reservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Reservation
	for _, r := range s.reservations {
		c := *r
		c.Tags, c.Assignments = slices.Clone(r.Tags), slices.Clone(r.Assignments)
		out = append(out, c)
	}
	return out
}

// Reserve adds a reservation as a user of the API's web page would.
func (s *Server) Reserve(kind string, tags ...string) (Reservation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.reserveLocked(kind, tags, "")
	if err != nil {
		return Reservation{}, err
	}
	return *r, nil
}

func (s *Server) reserveLocked(kind string, tags []string, details string) (*Reservation, error) {
	block := s.cfg.Public
	if kind == "private_ipv4" {
		block = s.cfg.Private
	}
	if !block.IsValid() {
		return nil, fmt.Errorf("type %q is not available", kind)
	}
	addr := block.Masked().Addr()
	for s.reservedLocked(addr) {
		if addr = addr.Next(); !block.Contains(addr) {
			return nil, fmt.Errorf("no %s address is left", kind)
		}
	}
	id := s.idLocked()
	r := &Reservation{
		ID: id, Type: kind, Address: addr.String(), Network: addr.String(), CIDR: addr.BitLen(), AddressFamily: family(addr),
		Public: kind != "private_ipv4", Manageable: true, State: "created", Details: details, Tags: slices.Clone(tags),
		Href: href("ips", id).Href, Metro: &metro{ID: "metro", Code: s.cfg.Metro, Name: s.cfg.Metro}, Assignments: []Assignment{},
	}
	s.reservations = append(s.reservations, r)
	return r, nil
}

func (s *Server) reservedLocked(addr netip.Addr) bool {
	text := addr.String()
	return slices.ContainsFunc(s.reservations, func(r *Reservation) bool { return r.Address == text })
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

func (s *Server) listReservations(r *http.Request) (int, any) {
	types := strings.FieldsFunc(strings.Join(r.URL.Query()["types"], ","), func(c rune) bool { return c == ',' })
	all := slices.DeleteFunc(slices.Clone(s.reservations), func(r *Reservation) bool {
		return len(types) > 0 && !slices.Contains(types, r.Type)
	})
	out, m := page(r, all, 250)
	return http.StatusOK, map[string]any{"ip_addresses": out, "meta": m}
}

func (s *Server) requestReservation(r *http.Request) (int, any) {
	var in struct {
		Type     string   `json:"type"`
		Quantity int      `json:"quantity"`
		Metro    string   `json:"metro"`
		Tags     []string `json:"tags"`
		Details  string   `json:"details"`
	}
	if status, body := decode(r, &in); status != 0 {
		return status, body
	}
	switch {
	case in.Quantity != 1:
		return http.StatusUnprocessableEntity, failure("quantity must be 1 here")
	case in.Type != "global_ipv4" && in.Metro != s.cfg.Metro:
		return http.StatusUnprocessableEntity, failure(fmt.Sprintf("metro %q is not valid", in.Metro))
	case s.cfg.Quota > 0 && len(s.reservations) >= s.cfg.Quota:
		return http.StatusUnprocessableEntity, failure("Your project has reached its IP quota")
	}
	made, err := s.reserveLocked(in.Type, in.Tags, in.Details)
	if err != nil {
		return http.StatusUnprocessableEntity, failure(err.Error())
	}
	return http.StatusCreated, made
}

func (s *Server) getAddress(r *http.Request) (int, any) {
	for _, res := range s.reservations {
		if res.ID == r.PathValue("id") {
			return http.StatusOK, res
		}
		for _, a := range res.Assignments {
			if a.ID == r.PathValue("id") {
				return http.StatusOK, a
			}
		}
	}
	return notFound()
}

func (s *Server) updateAddress(r *http.Request) (int, any) {
	var in struct {
		Tags    []string `json:"tags"`
		Details *string  `json:"details"`
	}
	if status, body := decode(r, &in); status != 0 {
		return status, body
	}
	for _, res := range s.reservations {
		if res.ID != r.PathValue("id") {
			continue
		}
		if in.Tags != nil {
			res.Tags = in.Tags
		}
		if in.Details != nil {
			res.Details = *in.Details
		}
		return http.StatusOK, res
	}
	return notFound()
}

func (s *Server) deleteAddress(r *http.Request) (int, any) {
	id := r.PathValue("id")
	for i, res := range s.reservations {
		if res.ID == id {
			if len(res.Assignments) > 0 {
				return http.StatusUnprocessableEntity, failure("the reservation has assignments")
			}
			s.reservations = slices.Delete(s.reservations, i, i+1)
			return http.StatusNoContent, nil
		}
		if j := slices.IndexFunc(res.Assignments, func(a Assignment) bool { return a.ID == id }); j >= 0 {
			s.routeLocked(res.Assignments[j].Address, "")
			res.Assignments = slices.Delete(res.Assignments, j, j+1)
			return http.StatusNoContent, nil
		}
	}
	return notFound()
}

func (s *Server) assign(r *http.Request) (int, any) {
	device := s.deviceLocked(r.PathValue("device"))
	if device == nil {
		return notFound()
	}
	var in struct {
		Address string `json:"address"`
	}
	if status, body := decode(r, &in); status != 0 {
		return status, body
	}
	want := strings.TrimSuffix(in.Address, "/32")
	for _, res := range s.reservations {
		if res.Address != want {
			continue
		}
		if len(res.Assignments) > 0 {
			return http.StatusUnprocessableEntity, failure("Address " + want + " is already assigned")
		}
		id := s.idLocked()
		a := Assignment{
			ID: id, Address: res.Address, Network: res.Network, CIDR: res.CIDR, AddressFamily: res.AddressFamily, Public: res.Public,
			Manageable: true, AssignedTo: href("devices", device.ID), Href: href("ips", id).Href,
			ParentBlock: &parentBlock{Network: res.Network, Netmask: "255.255.255.255", CIDR: res.CIDR, Href: res.Href},
		}
		res.Assignments = append(res.Assignments, a)
		s.routeLocked(a.Address, device.ID)
		return http.StatusCreated, a
	}
	return http.StatusUnprocessableEntity, failure("Address " + want + " is not reserved by this project")
}

func (s *Server) routeLocked(addr, device string) {
	if a, err := netip.ParseAddr(addr); err == nil {
		s.cfg.Routed(a, device)
	}
}
