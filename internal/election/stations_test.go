package election_test

import (
	"testing"
	"time"

	"daymark/internal/election"
)

func TestStations(t *testing.T) {
	story(t, "members know each other on the wire, and no stranger", func(w *world) {
		ps := members(w, "a", "b")
		at := func(i int) *election.Members { return ps[i].elector.(*election.Members) }
		at(0).SetStations([]string{"02:00:00:00:00:02", "02:00:00:00:00:01"})
		for _, p := range ps {
			p.elector.Set(nil)
			p.start()
		}
		time.Sleep(10 * time.Second)
		expect := func(station, want string) {
			w.t.Helper()
			if got := at(1).Station(station); got != want {
				w.t.Errorf("%s is %q, want %q", station, got, want)
			}
		}
		expect("02:00:00:00:00:01", "a")
		expect("02:00:00:00:00:02", "a")
		expect("02:00:00:00:00:99", "")
		if !at(1).Stationed() || at(0).Stationed() {
			w.t.Errorf("all others say where they are: %t of who hears a, which does; %t of who hears b, which doesn't", at(1).Stationed(), at(0).Stationed())
		}
		at(0).SetStations([]string{"02:00:00:00:00:03"}) // another card
		time.Sleep(50 * time.Millisecond)
		expect("02:00:00:00:00:03", "a")
		expect("02:00:00:00:00:01", "")
		ps[0].kill() // what it sent may be on its way still
		time.Sleep(20 * time.Second)
		expect("02:00:00:00:00:03", "a")
	})
}
