package route

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	routes prometheus.Gauge
	errors prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		routes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "daymark_route_routes", Help: "Routes in the kernel that announce addresses.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "daymark_route_errors_total", Help: "Changes of routes that the kernel refused.",
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	return errors.Join(r.Register(m.routes), r.Register(m.errors))
}
