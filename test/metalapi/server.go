// Package metalapi is a simulator of the part of the Equinix Metal API that Daymark calls, because the public service ended
// in June 2026: projects, devices, IP reservations and assignments with tags, BGP configuration, sessions and neighbours,
// pagination, and the errors 401, 403, 404, 422, 429 and 5xx, with latency and half-done operations on request.
//
// It answers in the shapes of the API's published description, and keeps everything in memory. It is a fake: what the real
// service did beyond that description isn't here.
package metalapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Prefix is the path below which the API lives, as on the public service.
const Prefix = "/metal/v1"

// Config is what a simulated account consists of at start.
type Config struct {
	Token   string // of a user who may do everything
	Project string // UUID of the only project
	Name    string // its name; default "project"
	Metro   string // code of the only metro, such as "da"
	// Public and Private are the blocks that reservations are cut from; one address each.
	Public, Private netip.Prefix
	// Quota is the number of reservations after which the API answers 422; 0 means no limit.
	Quota int
	// Routed is told where an address leads from now on: the device's ID, or "" for nowhere. It is called in order, while no other
	// call is done, and must not call the Server. May be nil.
	Routed func(addr netip.Addr, device string)
	Log    *slog.Logger
}

// Server is the simulated API. It is safe for concurrent use.
type Server struct {
	cfg Config
	mux *http.ServeMux

	mu           sync.Mutex // guards what follows
	devices      []*Device
	reservations []*Reservation
	bgp          *bgpConfig
	neighbours   map[string][]Neighbour // by device
	calls        map[string]int
	faults       []*Fault
	nextID       int
}

// New returns a simulator with no device and no reservation.
func New(cfg Config) *Server {
	cfg.Name = cmp.Or(cfg.Name, "project")
	if cfg.Routed == nil {
		cfg.Routed = func(netip.Addr, string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), neighbours: map[string][]Neighbour{}, calls: map[string]int{}}
	for pattern, handle := range map[string]handler{
		"GET /projects/{project}/ips":          s.listReservations,
		"POST /projects/{project}/ips":         s.requestReservation,
		"GET /ips/{id}":                        s.getAddress,
		"PATCH /ips/{id}":                      s.updateAddress,
		"DELETE /ips/{id}":                     s.deleteAddress,
		"GET /projects/{project}/devices":      s.listDevices,
		"GET /devices/{device}":                s.getDevice,
		"GET /devices/{device}/ips":            s.listAssignments,
		"POST /devices/{device}/ips":           s.assign,
		"GET /projects/{project}/bgp-config":   s.getBGPConfig,
		"POST /projects/{project}/bgp-configs": s.enableBGP,
		"GET /projects/{project}/bgp/sessions": s.projectSessions,
		"GET /devices/{device}/bgp/sessions":   s.deviceSessions,
		"POST /devices/{device}/bgp/sessions":  s.createSession,
		"GET /devices/{device}/bgp/neighbors":  s.deviceNeighbours,
		"GET /locations/metros":                s.listMetros,
		"GET /projects":                        s.listProjects,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		s.mux.Handle(method+" "+Prefix+path, s.serve(pattern, handle))
	}
	return s
}

// handler does one call with the server's lock held; the answer is sent as JSON, nil as no content.
type handler func(r *http.Request) (status int, body any)

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// serve counts a call, checks the token, plays the faults, and answers.
func (s *Server) serve(pattern string, handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := s.count(pattern)
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body)) // read to its end, or nobody notices that the caller goes away
		if fault.delay(r) != nil {
			return
		}
		if token := r.Header.Get("X-Auth-Token"); token != s.cfg.Token {
			reply(w, http.StatusUnauthorized, failure("Invalid authentication token"))
			return
		}
		if p := r.PathValue("project"); p != "" && p != s.cfg.Project {
			reply(w, http.StatusNotFound, failure("Not found"))
			return
		}
		if fault.before(w) {
			return
		}
		s.mu.Lock()
		status, answer := handle(r)
		text, err := encode(answer)
		s.mu.Unlock()
		if err != nil {
			status, text = http.StatusInternalServerError, nil
		}
		s.cfg.Log.Debug("call", "method", r.Method, "path", r.URL.Path, "status", status)
		fault.after(r.Context())
		send(w, status, text)
	})
}

func (s *Server) count(pattern string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[pattern]++
	i := slices.IndexFunc(s.faults, func(f *Fault) bool { return f.matches(pattern) })
	if i < 0 {
		return nil
	}
	fault := *s.faults[i]
	if s.faults[i].Times--; s.faults[i].Times == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return &fault
}

// Calls returns how often each call was made, by pattern, such as "POST /devices/{device}/ips".
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.calls))
	for k, v := range s.calls {
		out[k] = v
	}
	return out
}

// ResetCalls sets every count to zero.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

// id returns a new UUID-shaped identifier.
func (s *Server) idLocked() string {
	s.nextID++
	return fmt.Sprintf("00000000-0000-4000-8000-%012x", s.nextID)
}

type errorBody struct {
	Errors []string `json:"errors"`
}

func failure(text string) errorBody { return errorBody{[]string{text}} }

func notFound() (int, any) { return http.StatusNotFound, failure("Not found") }

func reply(w http.ResponseWriter, status int, body any) {
	text, err := encode(body)
	if err != nil {
		status, text = http.StatusInternalServerError, nil
	}
	send(w, status, text)
}

// encode renders a body while nobody changes it; nil stays nil.
func encode(body any) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	return json.Marshal(body)
}

func send(w http.ResponseWriter, status int, text []byte) {
	if text != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client's loss
}

// decode reads the request's body; a body that isn't JSON is the caller's 422.
func decode(r *http.Request, into any) (int, any) {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(into); err != nil {
		return http.StatusUnprocessableEntity, failure("body: " + err.Error())
	}
	return 0, nil
}

// Href is the API's reference to another object.
type Href struct {
	Href string `json:"href"`
}

func href(kind, id string) Href { return Href{Prefix + "/" + kind + "/" + id} }

type meta struct {
	Total       int `json:"total"`
	CurrentPage int `json:"current_page"`
	LastPage    int `json:"last_page"`
}

// page cuts the page that the query asks for out of all.
func page[T any](r *http.Request, all []T, defaultSize int) ([]T, meta) {
	size := queryInt(r, "per_page", defaultSize, 1000)
	n := queryInt(r, "page", 1, 1<<20)
	m := meta{Total: len(all), CurrentPage: n, LastPage: max(1, (len(all)+size-1)/size)}
	from := min(len(all), (n-1)*size)
	return all[from:min(len(all), from+size)], m
}

func queryInt(r *http.Request, key string, fallback, most int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(key))
	if err != nil || n < 1 {
		return fallback
	}
	return min(n, most)
}

func (s *Server) listProjects(r *http.Request) (int, any) {
	all := []any{}
	if name := r.URL.Query().Get("name"); strings.Contains(s.cfg.Name, name) {
		all = append(all, map[string]any{"id": s.cfg.Project, "name": s.cfg.Name, "href": href("projects", s.cfg.Project).Href})
	}
	out, m := page(r, all, 10)
	return http.StatusOK, map[string]any{"projects": out, "meta": m}
}
