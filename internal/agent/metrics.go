package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daymark/internal/election"
)

// Metrics counts what the agent does. One serves every part of a process; nil counts nothing. Safe for concurrent use.
type Metrics struct {
	round     prometheus.Histogram
	conflicts prometheus.Counter
	disputes  *prometheus.CounterVec
	handled   prometheus.Histogram
	reports   *prometheus.CounterVec
}

// NewMetrics returns metrics registered with reg. states tells the addresses of a moment, for the gauges.
func NewMetrics(reg prometheus.Registerer, states func() []State) *Metrics {
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "daymark", Subsystem: "agent", Name: name, Help: help,
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3},
		})
	}
	m := &Metrics{
		round:   seconds("apply_seconds", "How long it took to make a set of addresses true in kernel and announcers."),
		handled: seconds("decide_seconds", "How long it took to decide what changes of Services and endpoints mean."),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "daymark", Subsystem: "agent", Name: "conflicts_total", Help: "How often a stranger was heard to use an address held here.",
		}),
		disputes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "daymark", Subsystem: "agent", Name: "disputes_total",
			Help: "How often another member was heard to use an address held here, by what the lease said: confirmed, lost or undecided.",
		}, []string{"verdict"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "daymark", Subsystem: "agent", Name: "reports_total", Help: "Writes to Services in the API, by result: ok or failed.",
		}, []string{"result"}),
	}
	reg.MustRegister(m.round, m.handled, m.conflicts, m.disputes, m.reports, phases{states, prometheus.NewDesc(
		"daymark_agent_addresses", "Addresses that this node holds or is about to, by phase.", []string{"phase"}, nil)})
	return m
}

// phases counts addresses when it is asked.
type phases struct {
	states func() []State
	desc   *prometheus.Desc
}

// Describe is [prometheus.Collector].
func (p phases) Describe(out chan<- *prometheus.Desc) { out <- p.desc }

// Collect is [prometheus.Collector].
func (p phases) Collect(out chan<- prometheus.Metric) {
	count := map[Phase]int{Held: 0, Quiet: 0, Probing: 0, Conflict: 0, Failed: 0}
	for _, s := range p.states() {
		count[s.Phase]++
	}
	for phase, n := range count {
		out <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, float64(n), string(phase))
	}
}

// CountLinks registers with reg a gauge of the links that addresses go to. used tells them when it is asked, by name, with the reason why one
// can't carry traffic, such as "has no carrier", or "".
func CountLinks(reg prometheus.Registerer, used func() map[string]string) {
	reg.MustRegister(linkStates{used, prometheus.NewDesc(
		"daymark_agent_link_up", "Whether a link that addresses go to can carry traffic: 1, or 0 where it has no carrier, is down or not there.", []string{"link"}, nil)})
}

// linkStates looks at links when it is asked.
type linkStates struct {
	used func() map[string]string
	desc *prometheus.Desc
}

// Describe is [prometheus.Collector].
func (l linkStates) Describe(out chan<- *prometheus.Desc) { out <- l.desc }

// Collect is [prometheus.Collector].
func (l linkStates) Collect(out chan<- prometheus.Metric) {
	for name, trouble := range l.used() {
		up := 1.0
		if trouble != "" {
			up = 0
		}
		out <- prometheus.MustNewConstMetric(l.desc, prometheus.GaugeValue, up, name)
	}
}

func (m *Metrics) applied(began time.Time) {
	if m != nil {
		m.round.Observe(time.Since(began).Seconds())
	}
}

func (m *Metrics) decided(began time.Time) {
	if m != nil {
		m.handled.Observe(time.Since(began).Seconds())
	}
}

func (m *Metrics) conflict() {
	if m != nil {
		m.conflicts.Inc()
	}
}

func (m *Metrics) disputed(v election.Verdict) {
	if m != nil {
		m.disputes.WithLabelValues(string(v)).Inc()
	}
}

func (m *Metrics) reported(err error) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.reports.WithLabelValues(result).Inc()
}
