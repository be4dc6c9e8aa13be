package l2

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	addresses                   prometheus.Gauge
	sent, heard                 *prometheus.CounterVec
	suppressed, failed, defence prometheus.Counter
	unwatched                   prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		addresses: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "daymark_l2_addresses", Help: "Addresses announced by ARP or NDP.",
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daymark_l2_announcements_total", Help: "Announcement frames sent.",
		}, []string{"protocol"}),
		heard: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daymark_l2_heard_total", Help: "Times that another station was heard to use (claim) or ask for (query) an address of ours.",
		}, []string{"kind"}),
		suppressed: counter("daymark_l2_suppressed_total", "Announcements not made because the right to hold the address had run out."),
		failed:     counter("daymark_l2_errors_total", "Frames that could not be sent."),
		defence:    counter("daymark_l2_defences_total", "Announcements made to defend an address against another station."),
		unwatched:  counter("daymark_l2_watch_errors_total", "Times that links could not be followed."),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	var err error
	for _, c := range []prometheus.Collector{m.addresses, m.sent, m.heard, m.suppressed, m.failed, m.defence, m.unwatched} {
		err = errors.Join(err, r.Register(c))
	}
	return err
}
