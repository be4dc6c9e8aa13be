package election_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"daymark/internal/election"
)

// sized returns a member whose record has room for most parts.
func sized(w *world, name string, most int, told *[]string, reg prometheus.Registerer) *proc {
	return memberProc(w, name, func(c *election.MembersConfig) {
		c.SetMostParts(most)
		c.Trouble = func(text string) { *told = append(*told, text) }
		if reg != nil {
			c.Metrics = election.NewMetrics(reg)
		}
	})
}

// limit makes the API server refuse Leases whose annotations are longer.
func (a *api) limit(bytes int) {
	a.setAdmit(func(_, lease *coordinationv1.Lease) error {
		n := 0
		for k, v := range lease.Annotations {
			n += len(k) + len(v)
		}
		if n <= bytes {
			return nil
		}
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("annotations of %d bytes, %d are allowed", n, bytes))
	})
}

func TestRoom(t *testing.T) {
	// Twenty parts, listed and offered, and 200 bytes of the rest.
	const most, bytes = 20, 20*8*4/3*2 + 200

	story(t, "a member takes what fits, renews it, and tells of what doesn't", func(w *world) {
		w.api.limit(bytes)
		var told []string
		reg := prometheus.NewRegistry()
		a := sized(w, "a", most, &told, reg)
		all := claims(60) // too many even if none is offered
		a.elector.Set(all[:15])
		a.start()
		time.Sleep(5 * time.Second)
		w.forgiveGaps()
		a.elector.Set(all)
		time.Sleep(20 * time.Second)
		held := map[string]bool{}
		for _, r := range a.held() {
			held[r.Claim] = true
		}
		if len(held) != most || w.longestOf(all[:15]) > 0 {
			w.fail("%d held, want %d; what was held before had nobody for %v", len(held), most, w.longestOf(all[:15]))
		}
		if len(told) != 1 || !strings.Contains(told[0], "kube-system/kube-vip-member-services-a") || !strings.Contains(told[0], "leaves 40") {
			w.t.Errorf("told %q", told)
		}
		if n := gaugeOf(w.t, reg, "vip_election_outgrown_claims"); n != 40 {
			w.t.Errorf("the metric says %v", n)
		}
		a.elector.Set(all[40:]) // what comes free is of use at once
		w.await(100*time.Millisecond, "the rest held", func() bool { return w.allHeld(all[40:]) })
		if n := gaugeOf(w.t, reg, "vip_election_outgrown_claims"); n != 0 {
			w.t.Errorf("the metric says %v", n)
		}
		a.elector.Yield() // offers everything
		time.Sleep(10 * time.Second)
		if !w.allHeld(all[40:]) {
			w.fail("not all held: %v", w.placed())
		}
	})

	story(t, "others get what doesn't fit, and everything is handed over as far as there is room", func(w *world) {
		w.api.limit(bytes)
		var told []string
		all := claims(36)
		a := sized(w, "a", most, &told, nil)
		a.elector.Set(all)
		a.start()
		time.Sleep(5 * time.Second)
		b := sized(w, "b", most, &told, nil)
		b.elector.Set(all)
		b.start()
		w.await(5*time.Second, "all held", func() bool { return w.allHeld(all) })
		time.Sleep(10 * time.Second)
		before := w.placed()
		time.Sleep(20 * time.Second)
		if n, _, _ := moved(before, w.placed()); n > 0 || !w.allHeld(all) {
			w.fail("%d claims moved in peace", n)
		}
		a.shutdown()
		time.Sleep(time.Second)
		if n := len(b.held()); n != most {
			w.fail("b has %d, want %d", n, most)
		}
	})

	story(t, "a claim that is too large for any record is told of, and costs nobody else anything", func(w *world) {
		w.api.limit(bytes)
		var told []string
		a := sized(w, "a", most, &told, nil)
		all := claims(30)
		a.elector.Set([]election.Claim{together(all[:most]...), all[most], all[most+1]}) // its parts, and that they belong together
		a.start()
		time.Sleep(5 * time.Second)
		if len(w.placed()) != 2 || len(told) != 1 {
			w.fail("held: %v, told: %q", w.placed(), told)
		}
	})
}

// TestRoomIsEnough has a record of as many parts as there may be, all of them offered, beside much else: an API server takes it.
func TestRoomIsEnough(t *testing.T) {
	if n := election.RecordLength(election.MostParts); n > 256<<10-8<<10 {
		t.Errorf("%d bytes, which leaves less than 8 KiB of 256 KiB", n)
	}
}
