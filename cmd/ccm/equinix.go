package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"

	"daymark/ipam"
	"daymark/provider"
	"daymark/provider/equinix"
)

// equinixFieldManager is the name under which the API server booked what the Equinix CCM 3.x wrote: its program's.
const equinixFieldManager = "cloud-provider-equinix-metal"

// checkTimeout bounds the first call, so that an API that is away doesn't hold up the start.
const checkTimeout = 10 * time.Second

// metal is Equinix Metal as a cloud: its configuration, and the parts that several controllers share.
type metal struct {
	config    equinix.Config
	client    *equinix.Client
	control   *equinix.Client // for the control plane's address: it waits behind no Service
	devices   *equinix.Devices
	instances *equinix.Instances
}

// newMetal reads the cloud config, "" for none, and the environment. The error names everything wrong, and never shows a secret.
func newMetal(file string, getenv func(string) string) (*metal, error) {
	var text []byte
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("reading the cloud config: %w", err)
		}
	}
	config, err := equinix.ParseConfig(text, getenv)
	if err != nil {
		return nil, fmt.Errorf("cloud config:\n%w", err)
	}
	config.Client.UserAgent = "daymark-ccm"
	config.Client.Transport = countCalls(legacyregistry.Registerer(), http.DefaultTransport.(*http.Transport).Clone())
	m := &metal{config: config}
	for _, client := range []**equinix.Client{&m.client, &m.control} {
		if *client, err = equinix.NewClient(config.Client); err != nil {
			return nil, err
		}
	}
	m.devices = equinix.NewDevices(m.client)
	m.instances = equinix.NewInstances(m.client, m.devices)
	return m, nil
}

// countCalls returns a transport that counts the attempts of calls to the API in a metric, which it registers.
func countCalls(r prometheus.Registerer, next http.RoundTripper) http.RoundTripper {
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ccm_vendor_api_requests_total",
		Help: "Requests to the vendor's API, each attempt counted, by method and status; code 0 is one without an answer.",
	}, []string{"method", "code"})
	r.MustRegister(calls)
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		code := 0
		if err == nil {
			code = resp.StatusCode
		}
		calls.WithLabelValues(r.Method, strconv.Itoa(code)).Inc()
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// check asks the API once. A token or project that is refused is an error; an API that is away is none, since it may come back.
func (m *metal) check(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := m.devices.Check(ctx)
	switch {
	case errors.Is(err, equinix.ErrUnauthorized), errors.Is(err, equinix.ErrNoProject), errors.Is(err, equinix.ErrRefused):
		return err
	case err != nil:
		log.Warn("the API doesn't answer; going on", "err", err)
	}
	return nil
}

// addresses returns elastic addresses as the source, for the cluster that the namespace kube-system identifies. Of o the rest is filled in.
func (m *metal) addresses(ctx context.Context, client kubernetes.Interface, o equinix.EIPOptions) (provider.Source, error) {
	system, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's identity, the UID of namespace kube-system: %w", err)
	}
	o.API, o.Cluster, o.Metro, o.Facility = m.client, string(system.UID), m.config.Metro, m.config.Facility
	o.MetroKey, o.FacilityKey, o.ControlTag = m.config.EIPMetroKey, m.config.EIPFacilityKey, m.config.EIPTag
	return equinix.NewEIPs(o), nil
}

// exclusions remembers for a second what no Service may have: it is asked for every Service, and changes seldom.
type exclusions struct {
	read func() []ipam.Exclusion

	mu  sync.Mutex
	all []ipam.Exclusion
	at  time.Time
}

func (e *exclusions) find(addr netip.Addr) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.at) > time.Second {
		e.all, e.at = e.read(), time.Now()
	}
	for _, x := range e.all {
		if x.Prefix.Contains(addr) {
			return x.What, true
		}
	}
	return "", false
}

// nodeBGP returns where the BGP annotations of Nodes come from.
func (m *metal) nodeBGP(log *slog.Logger) provider.NodeBGPSource {
	if m.config.LoadBalancer == equinix.NoLoadBalancer {
		return equinix.NoBGP{}
	}
	return equinix.NewBGP(equinix.BGPOptions{
		API: m.client, Devices: m.devices, ASN: m.config.LocalASN, Password: m.config.BGPPassword,
		Nodes: m.config.BGPNodes, Keys: m.config.Keys, Log: log,
	})
}
