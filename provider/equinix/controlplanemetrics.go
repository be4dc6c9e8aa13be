package equinix

import "github.com/prometheus/client_golang/prometheus"

// ControlPlaneMetrics are the figures of [ControlPlane]. All methods work on nil, and do nothing.
type ControlPlaneMetrics struct {
	well, holds  *prometheus.GaugeVec
	moves, fails prometheus.Counter
}

// NewControlPlaneMetrics registers the metrics; registering twice panics.
func NewControlPlaneMetrics(r prometheus.Registerer) *ControlPlaneMetrics {
	m := &ControlPlaneMetrics{
		well: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ccm_control_plane_healthy", Help: "1 for a control-plane node whose API server answers, else 0.",
		}, []string{"node"}),
		holds: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ccm_control_plane_address_assigned", Help: "1 for the control-plane node that has the elastic address, else 0.",
		}, []string{"node"}),
		moves: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ccm_control_plane_address_moves_total", Help: "Times that the elastic address was given to another node.",
		}),
		fails: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ccm_control_plane_address_errors_total", Help: "Attempts to read or move the elastic address that failed.",
		}),
	}
	r.MustRegister(m.well, m.holds, m.moves, m.fails)
	return m
}

func (m *ControlPlaneMetrics) seen(all map[string]*candidate, holders []Assignment, successes int) {
	if m == nil {
		return
	}
	m.well.Reset()
	m.holds.Reset()
	for _, c := range all {
		if c.node == "" {
			continue
		}
		m.well.WithLabelValues(c.node).Set(number(c.successes >= successes))
		m.holds.WithLabelValues(c.node).Set(0)
	}
	for _, h := range holders {
		if c := all[h.Device]; c != nil && c.node != "" {
			m.holds.WithLabelValues(c.node).Set(1)
		}
	}
}

func (m *ControlPlaneMetrics) moved() {
	if m != nil {
		m.moves.Inc()
	}
}

func (m *ControlPlaneMetrics) failed() {
	if m != nil {
		m.fails.Inc()
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
