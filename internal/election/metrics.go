package election

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what electors do. One serves every elector of a process; nil counts nothing. Safe for concurrent use.
type Metrics struct {
	held        *prometheus.GaugeVec
	passing     *prometheus.GaugeVec
	gained      *prometheus.CounterVec
	lost        *prometheus.CounterVec
	renewal     *prometheus.HistogramVec
	failed      *prometheus.CounterVec
	liveMembers prometheus.Gauge
	unreadable  *prometheus.GaugeVec
	outgrown    *prometheus.GaugeVec
}

// NewMetrics returns metrics registered with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const lease = "lease"
	m := &Metrics{
		held:    gauge("held_claims", "Claims that this node holds.", lease),
		passing: gauge("passing_claims", "Claims that this node is handing over.", lease),
		gained:  counter("gained_total", "Claims taken, by how: free, failover, passed, returned or adopted.", lease, "how"),
		lost:    counter("lost_total", "Claims let go of, by why: deadline, usurped, passed, dropped or stopped.", lease, "why"),
		renewal: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "vip", Subsystem: "election", Name: "renewal_seconds",
			Help:    "How long successful writes of a lease took.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2},
		}, []string{lease}),
		failed: counter("failed_renewals_total", "Writes of a lease that failed.", lease),
		liveMembers: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "vip", Subsystem: "election", Name: "live_members", Help: "Members seen alive, this node included.",
		}),
	}
	m.unreadable = gauge("unreadable_members", "Live members whose record is not understood: while there is one, nothing new is taken.", lease)
	m.outgrown = gauge("outgrown_claims", "Claims that this node leaves to others, since its member record has no room for them.", lease)
	reg.MustRegister(m.unreadable, m.outgrown, m.held, m.passing, m.gained, m.lost, m.renewal, m.failed, m.liveMembers)
	return m
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "vip", Subsystem: "election", Name: name, Help: help}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "vip", Subsystem: "election", Name: name, Help: help}, labels)
}

func (m *Metrics) rights(lease string, rights []Right) {
	if m == nil {
		return
	}
	passing := 0
	for _, r := range rights {
		if r.Passing {
			passing++
		}
	}
	m.held.WithLabelValues(lease).Set(float64(len(rights) - passing))
	m.passing.WithLabelValues(lease).Set(float64(passing))
}

func (m *Metrics) gain(lease, how string, n int) {
	if m != nil && n > 0 {
		m.gained.WithLabelValues(lease, how).Add(float64(n))
	}
}

func (m *Metrics) lose(lease, why string, n int) {
	if m != nil && n > 0 {
		m.lost.WithLabelValues(lease, why).Add(float64(n))
	}
}

func (m *Metrics) wrote(lease string, took time.Duration, err error) {
	switch {
	case m == nil:
	case err != nil:
		m.failed.WithLabelValues(lease).Inc()
	default:
		m.renewal.WithLabelValues(lease).Observe(took.Seconds())
	}
}

func (m *Metrics) unread(group string, n int) {
	if m != nil {
		m.unreadable.WithLabelValues(group).Set(float64(n))
	}
}

func (m *Metrics) outgrew(group string, n int) {
	if m != nil {
		m.outgrown.WithLabelValues(group).Set(float64(n))
	}
}

func (m *Metrics) live(n int) {
	if m != nil {
		m.liveMembers.Set(float64(n))
	}
}
