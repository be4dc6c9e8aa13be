package bgp

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector makes metrics of [Speaker.Peers] when they are asked for.
type collector struct {
	speaker *Speaker
	up, uptime, announced, flaps, bfd,
	waiting *prometheus.Desc
}

// Collector returns the metrics of the speaker and of each peer, for a registry.
func (s *Speaker) Collector() prometheus.Collector {
	peer := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("daymark_bgp_"+name, help, []string{"peer"}, nil)
	}
	return collector{
		speaker:   s,
		up:        prometheus.NewDesc("daymark_bgp_session_up", "Whether the session with the peer is up.", []string{"peer", "asn", "state"}, nil),
		uptime:    peer("session_uptime_seconds", "How long the session has been up; 0 while it is not."),
		announced: peer("announced_prefixes", "How many prefixes the peer is offered."),
		flaps:     peer("session_flaps_total", "How often the session went down since the peer was configured."),
		bfd:       prometheus.NewDesc("daymark_bgp_bfd_up", "Whether the BFD session with the peer is up.", []string{"peer", "state"}, nil),
		waiting:   prometheus.NewDesc("daymark_bgp_waiting", "Whether the speaker waits for its configuration.", nil, nil),
	}
}

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.uptime, c.announced, c.flaps, c.bfd, c.waiting} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.waiting, oneIf(c.speaker.Waiting()))
	for _, p := range c.speaker.Peers() {
		uptime := 0.0
		if p.Established() {
			uptime = time.Since(p.Since).Seconds()
		}
		gauge(c.up, oneIf(p.Established()), p.Peer, strconv.FormatUint(uint64(p.ASN), 10), p.State)
		gauge(c.uptime, uptime, p.Peer)
		gauge(c.announced, float64(p.Announced), p.Peer)
		ch <- prometheus.MustNewConstMetric(c.flaps, prometheus.CounterValue, float64(p.Flaps), p.Peer)
		if p.BFD != "" {
			gauge(c.bfd, oneIf(p.BFD == bfdUp.String()), p.Peer, p.BFD)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
