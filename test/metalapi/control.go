package metalapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// State is what an account has, for reading and for preparing one.
type State struct {
	Devices      []DeviceState `json:"devices"`
	Reservations []Reservation `json:"reservations"`
}

// DeviceState is a device in a [State].
type DeviceState struct {
	ID       string       `json:"id,omitempty"` // made if empty
	Hostname string       `json:"hostname"`
	State    string       `json:"state,omitempty"`
	Public   netip.Prefix `json:"public,omitzero"`
	Private  netip.Prefix `json:"private,omitzero"`
	Gateway  netip.Addr   `json:"gateway,omitzero"`
}

// Prepare adds devices, and reservations of which only type and tags count.
func (s *Server) Prepare(state State) error {
	for _, d := range state.Devices {
		s.AddDevice(Device{ID: d.ID, Hostname: d.Hostname, State: d.State, Public: d.Public, Private: d.Private, Gateway: d.Gateway})
	}
	for _, r := range state.Reservations {
		if _, err := s.Reserve(r.Type, r.Tags...); err != nil {
			return fmt.Errorf("reserving a %s address: %w", r.Type, err)
		}
	}
	return nil
}

// State returns what the account has now.
func (s *Server) State() State {
	out := State{Reservations: s.Reservations()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		out.Devices = append(out.Devices, DeviceState{ID: d.ID, Hostname: d.Hostname, State: d.State, Public: d.Public, Private: d.Private, Gateway: d.Gateway})
	}
	return out
}

// faultRequest is a [Fault] as people write it: durations as text, such as "2s".
type faultRequest struct {
	Call       string `json:"call"`
	Times      int    `json:"times"`
	Latency    string `json:"latency"`
	Status     int    `json:"status"`
	Text       string `json:"text"`
	RetryAfter string `json:"retryAfter"`
	DropAnswer bool   `json:"dropAnswer"`
}

func (f faultRequest) fault() (Fault, error) {
	out := Fault{Call: f.Call, Times: f.Times, Status: f.Status, Text: f.Text, DropAnswer: f.DropAnswer}
	for _, d := range []struct {
		text string
		to   *time.Duration
	}{{f.Latency, &out.Latency}, {f.RetryAfter, &out.RetryAfter}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.to, err = time.ParseDuration(d.text); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Control returns the handler by which the simulator, not the account, is told what to do; it asks for no token, so it belongs on an address of its own:
//
//	GET    /state               what the account has
//	POST   /state               add to it; see [State]
//	PUT    /devices/{id}/{state} a device's state, or "gone"
//	GET    /calls               how often each call was made
//	POST   /faults              add one; see [Fault]
//	DELETE /faults              remove all
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.State()) })
	mux.HandleFunc("POST /state", func(w http.ResponseWriter, r *http.Request) {
		var state State
		err := json.NewDecoder(r.Body).Decode(&state)
		if err == nil {
			err = s.Prepare(state)
		}
		answer(w, err)
	})
	mux.HandleFunc("PUT /devices/{id}/{state}", func(w http.ResponseWriter, r *http.Request) {
		s.SetDeviceState(r.PathValue("id"), r.PathValue("state"))
		answer(w, nil)
	})
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Calls()) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var request faultRequest
		err := json.NewDecoder(r.Body).Decode(&request)
		if err == nil {
			var fault Fault
			if fault, err = request.fault(); err == nil {
				s.Inject(fault)
			}
		}
		answer(w, err)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) { s.Heal(); answer(w, nil) })
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		reply(w, http.StatusBadRequest, failure(err.Error()))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
