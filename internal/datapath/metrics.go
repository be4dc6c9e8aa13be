package datapath

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	held               prometheus.GaugeFunc
	written, removed   prometheus.Counter
	restored, errors   prometheus.Counter
	overruns           prometheus.Counter
	changesByOperation *prometheus.CounterVec
}

// newMetrics asks held how many addresses there are whenever somebody wants to know.
func newMetrics(held func() float64) *metrics {
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "daymark_datapath_changes_total",
		Help: "Changes of addresses in the kernel: set (added, renewed or altered) and removed.",
	}, []string{"operation"})
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		held: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "daymark_datapath_addresses",
			Help: "Addresses in the kernel that are marked as ours.",
		}, held),
		changesByOperation: changes,
		written:            changes.WithLabelValues("set"),
		removed:            changes.WithLabelValues("removed"),
		restored:           counter("daymark_datapath_restored_total", "Addresses put back after somebody else took them away."),
		errors:             counter("daymark_datapath_errors_total", "Changes of addresses that the kernel refused."),
		overruns:           counter("daymark_datapath_overruns_total", "Times that notifications were lost and all was read anew."),
	}
}

// count returns how many addresses in the kernel are ours.
func (k *Kernel) count() float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return float64(k.state.count())
}

func (m *metrics) changes(o op) prometheus.Counter {
	if o.remove {
		return m.removed
	}
	return m.written
}

func (m *metrics) register(r prometheus.Registerer) error {
	var err error
	for _, c := range []prometheus.Collector{m.held, m.changesByOperation, m.restored, m.errors, m.overruns} {
		err = errors.Join(err, r.Register(c))
	}
	return err
}
