package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"daymark/internal/agent"
	"daymark/internal/election"
)

// counted returns the metrics of reg that are not zero, sorted: of histograms how much was observed.
func counted(t *testing.T, reg *prometheus.Registry) []string {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if n == 0 {
				continue
			}
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if m.GetHistogram() != nil {
				n = 1 // once or more
			}
			out = append(out, fmt.Sprint(name, " ", n))
		}
	}
	slices.Sort(out)
	return out
}

func TestMetrics(t *testing.T) {
	story(t, "a Service, a stranger and two other members that use its address", func(t *testing.T) {
		reg := prometheus.NewRegistry()
		var w *world
		w = newWorld(t, func(c *agent.ServicesConfig) {
			c.Metrics = agent.NewMetrics(reg, func() []agent.State { return w.States() })
		})
		failed := false
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			first := !failed
			failed = true
			return first, nil, errors.New("no connection")
		})
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.services.Conflict(netipMust("192.0.2.10"), "02:00:00:00:00:99")
		w.services.Conflict(netipMust("192.0.2.11"), "02:00:00:00:00:99")
		for _, v := range []election.Verdict{election.Confirmed, election.Lost} {
			w.elector.verdict = v
			w.services.Dispute(netipMust("192.0.2.10"), "n2", func(election.Verdict) {})
		}
		w.settle()
		if d := cmp.Diff([]string{
			"daymark_agent_addresses held 1", "daymark_agent_conflicts_total 1", "daymark_agent_decide_seconds 1",
			"daymark_agent_disputes_total confirmed 1", "daymark_agent_disputes_total lost 1",
			"daymark_agent_reports_total failed 1", "daymark_agent_reports_total ok 1",
		}, counted(t, reg)); d != "" {
			t.Error(d)
		}
	})

	story(t, "the control plane's address", func(t *testing.T) {
		reg := prometheus.NewRegistry()
		p := newPlane(t, false, func(c *agent.ControlPlaneConfig) {
			c.Metrics = agent.NewMetrics(reg, func() []agent.State { return nil })
		})
		p.grant("control-plane")
		p.control.Conflict(netipMust("192.0.2.1"), "02:00:00:00:00:99")
		p.elector.verdict = election.Undecided
		p.control.Dispute(netipMust("192.0.2.1"), "n2", func(election.Verdict) {})
		synctest.Wait()
		if d := cmp.Diff([]string{"daymark_agent_conflicts_total 1", "daymark_agent_disputes_total undecided 1"}, counted(t, reg)); d != "" {
			t.Error(d)
		}
		families, err := reg.Gather()
		must(t, err)
		for _, f := range families {
			if n := len(f.GetMetric()); f.GetName() == "daymark_agent_addresses" && n != 5 {
				t.Errorf("%d phases are shown where no address is in any, not 5", n)
			}
		}
	})

	story(t, "rounds of the holder", func(t *testing.T) {
		reg := prometheus.NewRegistry()
		var r *rig
		r = newRig(t, func(c *agent.HolderConfig, _ *rig) {
			c.Metrics = agent.NewMetrics(reg, func() []agent.State { return r.States() })
		})
		r.kernel.change(func(k *room) { k.refuse = netipMust("192.0.2.3") })
		w := want("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")
		w[1].Quiet, w[3].Sure, w[4].Sure = true, false, false
		r.lan.setUsed("192.0.2.5", true)
		r.apply("a", w...)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if d := cmp.Diff([]string{
			"daymark_agent_addresses conflict 1", "daymark_agent_addresses failed 1", "daymark_agent_addresses held 1",
			"daymark_agent_addresses probing 1", "daymark_agent_addresses quiet 1", "daymark_agent_apply_seconds 1",
		}, counted(t, reg)); d != "" {
			t.Error(d)
		}
	})
}
