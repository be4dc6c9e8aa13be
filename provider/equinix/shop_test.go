package equinix_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/ipam"
	"daymark/provider/equinix"
)

const cluster = "uid-1"

// shop is a source on a fake account, run in a synctest bubble, with as much of a controller as it takes to play with it: who is woken asks again.
type shop struct {
	t   *testing.T
	api *fakeAPI
	e   *equinix.EIPs
	log bytes.Buffer

	mu       sync.Mutex
	requests map[string]ipam.Request
	services map[string]*corev1.Service
	addrs    map[string]string // what each owner has, as written
	refused  map[string]string
	errs     map[string]error
}

func openShop(t *testing.T, api *fakeAPI, change func(*equinix.EIPOptions), existing ...ipam.Existing) *shop {
	t.Helper()
	s := &shop{
		t: t, api: api, requests: map[string]ipam.Request{}, services: map[string]*corev1.Service{}, addrs: map[string]string{},
		refused: map[string]string{}, errs: map[string]error{},
	}
	o := equinix.EIPOptions{
		API: api, Cluster: cluster, Metro: "da", MetroKey: equinix.EIPMetro, FacilityKey: equinix.EIPFacility, ControlTag: "control",
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	s.e = equinix.NewEIPs(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.e.Run(ctx, s.sync) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if conflicts, err := s.e.Replay(ctx, existing); err != nil || len(conflicts) > 0 {
		t.Error("replay:", conflicts, err)
	}
	return s
}

// want changes what a Service asks for and serves it.
func (s *shop) want(owner string, change ...func(*ipam.Request, *corev1.Service)) {
	namespace, name, _ := strings.Cut(owner, "/")
	r := ipam.Request{Owner: owner, Namespace: namespace}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, c := range change {
		c(&r, svc)
	}
	s.mu.Lock()
	s.requests[owner], s.services[owner] = r, svc
	s.mu.Unlock()
	s.sync(owner)
}

func asking(addr string) func(*ipam.Request, *corev1.Service) {
	return func(r *ipam.Request, _ *corev1.Service) { r.Requested = append(r.Requested, netip.MustParseAddr(addr)) }
}

func annotated(key, value string) func(*ipam.Request, *corev1.Service) {
	return func(_ *ipam.Request, svc *corev1.Service) { metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value) }
}

// sync serves owners as the controller does.
func (s *shop) sync(owners ...string) {
	for _, owner := range owners {
		s.mu.Lock()
		r, ok := s.requests[owner]
		svc := s.services[owner]
		s.mu.Unlock()
		if !ok {
			continue
		}
		s.e.Observe(ipam.Existing{Owner: owner})
		grant, err := s.e.Ensure(s.t.Context(), r, svc)
		var refusals ipam.Refusals
		s.mu.Lock()
		delete(s.refused, owner)
		delete(s.errs, owner)
		switch {
		case errors.As(err, &refusals):
			s.refused[owner] = refusals.Error()
		case err != nil:
			s.errs[owner] = err
		default:
			s.addrs[owner] = show(grant.List())
		}
		s.mu.Unlock()
		if err == nil {
			s.e.Commit(owner)
		}
	}
}

// drop deletes a Service.
func (s *shop) drop(owner string) error {
	s.mu.Lock()
	delete(s.requests, owner)
	s.mu.Unlock()
	wake, err := s.e.Release(s.t.Context(), owner)
	if err == nil {
		s.mu.Lock()
		delete(s.addrs, owner)
		s.mu.Unlock()
		s.sync(wake...)
	}
	return err
}

// owned shows what the account has: addresses, sorted.
func (s *shop) owned() string {
	var out []string
	s.api.set(func() {
		for _, r := range s.api.reservations {
			out = append(out, r.Prefix.Addr().String())
		}
	})
	slices.Sort(out)
	return strings.Join(out, ",")
}

func (s *shop) check(what, owner, addr string) {
	s.t.Helper()
	if s.addrs[owner] != addr {
		s.t.Errorf("%s: %s has %q (%s, %v), want %q", what, owner, s.addrs[owner], s.refused[owner], s.errs[owner], addr)
	}
}
