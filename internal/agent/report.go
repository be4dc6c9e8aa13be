package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"daymark/annotations"
	"daymark/internal/vip"
)

// Report is what the API server should say about a Service, as far as this node has a say in it.
type Report struct {
	// Service is the object as it was when the report was made.
	Service *corev1.Service
	// Holds means that this node holds the addresses: it writes Ingress and, where one node holds at a time, its name.
	Holds   bool
	Ingress []corev1.LoadBalancerIngress
	// Cleared means that this node held them and that nobody will: what it wrote is taken back.
	Cleared bool
	// Stale is the node that the Service says holds it, though that node does not; "" for none. Unless somebody takes it soon, the
	// name is taken back.
	Stale string
	// Event is told to the Service's owner, once for each different one; the zero Event is none.
	Event Event
	// Also is told likewise, whatever Event is.
	Also Event
}

// Event is the content of a Kubernetes Event.
type Event struct {
	Type, Reason, Text string
}

// report makes the report of one Service and gives it to the reporter.
func (s *Services) report(name Name) {
	svc := s.objects.service(name)
	if svc == nil {
		s.label(name, nil)
		s.cfg.Reporter.Forget(name)
		return
	}
	r, held := s.reportOf(name, svc)
	// What is not wished for here may be another agent's on this node, such as one for another class.
	_, wished := s.groups.wishes[name]
	if host := vipHost(svc); wished && !r.Holds && (host == s.cfg.Node && s.spoken || s.isGone(host)) {
		r.Stale = host
	}
	s.label(name, held)
	s.cfg.Reporter.Put(name, r)
}

func (s *Services) label(name Name, held []netip.Addr) {
	if s.cfg.Labels != nil {
		s.cfg.Labels.SetService(name, held)
	}
}

// reportOf returns what is to be said about a Service, and those of its addresses that are held here.
func (s *Services) reportOf(name Name, svc *corev1.Service) (r Report, held []netip.Addr) {
	r = Report{Service: svc}
	if text := s.noEffect[name]; text != "" && s.speaks() {
		r.Also = Event{corev1.EventTypeWarning, "NotSupported", text}
	}
	wish, wished := s.groups.wishes[name]
	reason, troubled := s.reasons[name]
	if troubled && (s.speaks() || s.ousted[name]) && reason.Name != "NoAddress" {
		r.Event = Event{corev1.EventTypeNormal, reason.Name, reason.Text}
		if reason.Warning {
			r.Event.Type = corev1.EventTypeWarning
		}
	}
	if !wished || !wish.Active {
		r.Cleared = !wished
		return r, nil
	}
	g := s.groups.of[name]
	right, mine := s.rights[g.Claim.Name]
	if !mine || right.Passing {
		if r.Event == (Event{}) {
			r.Event = s.givenUp(wish)
		}
		return r, nil
	}
	var troubles []string
	waiting := false
	for _, a := range wish.Addresses {
		// The group's link counts where Services disagree.
		st := s.states[s.placed(g, a)]
		switch st.Phase {
		case Held:
			held = append(held, a.Prefix.Addr())
		case Conflict, Failed:
			troubles = append(troubles, fmt.Sprintf("%s: %s", a.Prefix.Addr(), st.Problem))
		default:
			waiting = true
		}
		if f, ok := s.foreign[a.Prefix.Addr()]; ok && !f.won && time.Since(f.at) < foreignFor {
			troubles = append(troubles, fmt.Sprintf("%s is also used by %s", a.Prefix.Addr(), f.who))
		}
	}
	if g.links.long {
		troubles = append(troubles, g.links.trouble)
	}
	switch {
	case len(troubles) > 0:
		r.Event = trouble(strings.Join(troubles, "; "))
	case waiting:
	case r.Event.Type != corev1.EventTypeWarning:
		r.Event = Event{corev1.EventTypeNormal, "Held", fmt.Sprintf("Held by %s with %s", s.cfg.Node, s.cfg.Mode)}
	}
	r.Holds = len(held) > 0 && !waiting
	r.Ingress = ingress(svc, held)
	return r, held
}

// noteEffects remembers which annotations of svc have no effect, where it is ours.
func (s *Services) noteEffects(name Name, svc *corev1.Service, reason Reason) {
	keys := annotations.WithoutEffect(svc.Annotations)
	if len(keys) == 0 || reason.Name != "" && !reason.Ours {
		delete(s.noEffect, name)
		return
	}
	s.noEffect[name] = "no effect in this version: " + strings.Join(keys, ", ")
}

func trouble(text string) Event { return Event{corev1.EventTypeWarning, "AddressTrouble", text} }

// placed returns the key under which the holder has the address of a.
func (s *Services) placed(g *Group, a vip.Address) vip.Key {
	for _, other := range g.Addresses {
		if other.Prefix.Addr() == a.Prefix.Addr() {
			return other.Key()
		}
	}
	return a.Key()
}

// speaks reports whether this node is the one that tells users why a Service is held by nobody, and which annotations have no effect.
func (s *Services) speaks() bool {
	r, ok := s.rights[reports]
	return ok && !r.Passing
}

// ingress returns the status for held addresses, in the order in which the Service names them.
func ingress(svc *corev1.Service, held []netip.Addr) []corev1.LoadBalancerIngress {
	order, _ := requested(svc)
	rank := func(a netip.Addr) int {
		if i := slices.Index(order, a); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(held, func(a, b netip.Addr) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(b)) })
	mode := corev1.LoadBalancerIPModeVIP // the API server's default
	out := make([]corev1.LoadBalancerIngress, 0, len(held))
	for _, addr := range held {
		in := corev1.LoadBalancerIngress{IP: addr.String(), IPMode: &mode}
		for _, p := range svc.Spec.Ports {
			in.Ports = append(in.Ports, corev1.PortStatus{Port: p.Port, Protocol: p.Protocol})
		}
		out = append(out, in)
	}
	return out
}

// vipHost returns the node that svc says holds it.
func vipHost(svc *corev1.Service) string { return svc.Annotations[annotations.VIPHost] }
