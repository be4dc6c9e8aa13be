package provider

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"daymark/ipam"
)

// Metrics are the controller's figures. A pool's own are collected from the source when they are asked for.
type Metrics struct {
	latency   prometheus.Histogram
	refusals  *prometheus.CounterVec
	waiting   prometheus.Gauge
	retries   prometheus.Counter
	conflicts prometheus.Counter
}

// NewMetrics registers the metrics; registering twice panics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ccm_allocation_duration_seconds",
			Help:    "Time from the first sight of a Service without an address to the write of its address.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ccm_refusals_total",
			Help: "Services that were refused an address, by the rule that refused it.",
		}, []string{"reason"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ccm_services_waiting",
			Help: "Services that were refused an address and wait for it.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ccm_retries_total",
			Help: "Attempts to serve a Service that failed and are repeated.",
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ccm_address_conflicts_total",
			Help: "Addresses found to have more owners than they may.",
		}),
	}
	for _, reason := range ipam.Reasons() {
		m.refusals.WithLabelValues(string(reason))
	}
	r.MustRegister(m.latency, m.refusals, m.waiting, m.retries, m.conflicts)
	return m
}

// PoolMetrics are the figures of the pools, read from the allocator when somebody asks.
type PoolMetrics struct {
	broken prometheus.Gauge
	pools  *poolCollector
}

// NewPoolMetrics registers the metrics; registering twice panics.
func NewPoolMetrics(r prometheus.Registerer) *PoolMetrics {
	m := &PoolMetrics{
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ccm_pool_config_broken_keys",
			Help: "Keys of the ConfigMap with a wrong value; what they said before is in force.",
		}),
		pools: &poolCollector{},
	}
	r.MustRegister(m.broken, m.pools)
	return m
}

// observe says where the figures come from; once, before anybody asks.
func (m *PoolMetrics) observe(stats func() []ipam.Stats) { m.pools.stats.Store(&stats) }

func (m *PoolMetrics) configured(broken int) { m.broken.Set(float64(broken)) }

type poolCollector struct {
	stats atomic.Pointer[func() []ipam.Stats]
}

func poolDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("ccm_pool_"+name, help, []string{"pool", "family"}, nil)
}

// Describe sends nothing: the set of pools changes.
func (c *poolCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends four figures for each family of each pool.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.stats.Load()
	if stats == nil {
		return
	}
	size := poolDesc("addresses", "Addresses that the pool has.")
	used := poolDesc("addresses_used", "Addresses of the pool in use.")
	shared := poolDesc("addresses_shared", "Addresses of the pool that several Services use.")
	free := poolDesc("addresses_free", "Addresses of the pool that are free.")
	for _, s := range (*stats)() {
		for desc, value := range map[*prometheus.Desc]float64{
			size: s.Size.Float64(), used: s.Used.Float64(), shared: float64(s.Shared), free: s.Free.Float64(),
		} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Pool, s.Family.String())
		}
	}
}
