package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"daymark/annotations"
	"daymark/internal/vip"
)

// Policy says which Services are ours and how they are held. It does not change while the agent runs.
type Policy struct {
	ClassOnly   bool   // leave Services without a class alone (lb_class_only)
	ClassName   string // our class (lb_class_name)
	ClassLegacy bool   // no class or ours, rather than an exact match (lb_class_legacy_handling)

	Link       string // the link of Service addresses, or "auto"
	Bits4      int    // prefix length of IPv4 addresses; 0 means the link's own
	Bits6      int    // the same for IPv6
	Spread     bool   // every claim is spread over the nodes (svc_election)
	OnDemand   bool   // claims of Services that ask for it are (per_service_election_on_demand)
	AutoLink   string // what "auto" means for an address in no link's subnet; "" refuses it
	AllowedIPs []netip.Prefix
}

// Wish is what one Service asks of the nodes, as far as every node can see it.
type Wish struct {
	// Addresses are what the Service shall have on a node that holds it; without an end.
	Addresses []vip.Address
	// Group is the name of the claim chosen by the user; "" means named by address.
	Group string
	// Spread means that the claim is held by any member, not under the one lease for Services.
	Spread bool
	// Nodes are the nodes that may hold it; nil means all.
	Nodes []string
	// Active means that the Service has somewhere to send traffic to. What is not active is not held.
	Active bool
}

// Equal reports whether w and o ask the same.
func (w Wish) Equal(o Wish) bool {
	return w.Group == o.Group && w.Spread == o.Spread && w.Active == o.Active && slices.Equal(w.Nodes, o.Nodes) &&
		(w.Nodes == nil) == (o.Nodes == nil) && slices.EqualFunc(w.Addresses, o.Addresses, vip.Address.Equal)
}

// Reason says why a Service is not held as it asks to be. The zero Reason is no obstacle.
type Reason struct {
	// Name is the reason of the Event, in CamelCase.
	Name string
	// Text is for people.
	Text string
	// Ours is false for Services that are left alone; their owners are not told.
	Ours bool
	// Warning means that somebody has to change something.
	Warning bool
}

func notOurs(text string) Reason { return Reason{Name: "NotOurs", Text: text} }

func wrong(name, format string, args ...any) Reason {
	return Reason{Name: name, Text: fmt.Sprintf(format, args...), Ours: true, Warning: true}
}

// Desired decides what svc asks for. It depends on its arguments alone, and all nodes with the same objects decide the same.
// slices are the EndpointSlices of the Service.
//
// A Reason may come with a Wish: what is well-formed is held although something else is not.
func Desired(p *Policy, f *Facts, svc *corev1.Service, eps []*discoveryv1.EndpointSlice) (Wish, Reason) {
	if r := p.ours(svc); r.Name != "" {
		return Wish{}, r
	}
	addrs, reason := requested(svc)
	if len(addrs) == 0 {
		return Wish{}, cmp.Or(reason, Reason{Name: "NoAddress", Text: "no address yet", Ours: true})
	}
	var w Wish
	var problems []string
	tell, badRoute := route(svc)
	for _, addr := range addrs {
		a, err := p.place(f, svc, addr)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		a.Route = tell
		w.Addresses = append(w.Addresses, a)
	}
	if badRoute != nil {
		reason = cmp.Or(reason, wrong("BadAnnotation", "%s", oneLine(badRoute)))
	}
	if len(problems) > 0 {
		reason = wrong("AddressRefused", "%s", strings.Join(problems, "; "))
	}
	if len(w.Addresses) == 0 {
		return Wish{}, reason
	}
	w.Addresses = vip.Union(w.Addresses)
	if err := w.group(p, svc); err != nil {
		return Wish{}, wrong("BadAnnotation", "%s", err)
	}
	reason = cmp.Or(reason, w.follow(svc, eps))
	return w, reason
}

// ours returns the reason why svc is left alone.
func (p *Policy) ours(svc *corev1.Service) Reason {
	class := svc.Spec.LoadBalancerClass
	switch {
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return notOurs("not of type LoadBalancer")
	case svc.DeletionTimestamp != nil:
		return notOurs("being deleted")
	case annotations.True(svc.Annotations, annotations.Ignore):
		return notOurs("annotated " + annotations.Ignore)
	case class == nil && p.ClassOnly, class == nil && !p.ClassLegacy && p.ClassName != "":
		return notOurs("no load balancer class")
	case class != nil && *class != p.ClassName && (p.ClassLegacy || p.ClassName != ""):
		return notOurs("of another load balancer class")
	}
	return Reason{}
}

// requested returns the addresses of svc from the first source that names any: the annotation, spec.loadBalancerIP where it
// differs from the status, the status, spec.loadBalancerIP.
func requested(svc *corev1.Service) ([]netip.Addr, Reason) {
	if value := strings.TrimSpace(svc.Annotations[annotations.LoadBalancerIPs]); value != "" {
		return parseAddresses(annotations.LoadBalancerIPs, value)
	}
	var status []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(in.IP); err == nil && addr.Zone() == "" {
			status = append(status, addr.Unmap())
		}
	}
	spec := strings.TrimSpace(svc.Spec.LoadBalancerIP)
	if spec == "" {
		return status, Reason{}
	}
	addrs, reason := parseAddresses("spec.loadBalancerIP", spec)
	if reason.Name == "" && len(addrs) > 0 && slices.Contains(status, addrs[0]) {
		return status, Reason{}
	}
	return addrs, reason
}

func parseAddresses(key, value string) ([]netip.Addr, Reason) {
	requests, err := annotations.ParseRequests(value)
	if err != nil {
		return nil, wrong("BadAddress", "%s: %s", key, oneLine(err))
	}
	var addrs []netip.Addr
	for _, r := range requests {
		switch {
		case r.Host != "":
			return nil, wrong("NotSupported", "%s: host name %q: not in this version", key, r.Host)
		case r.DHCP():
			return nil, wrong("NotSupported", "%s: %s: addresses by DHCP are not in this version", key, r.Addr)
		}
		addrs = append(addrs, r.Addr)
	}
	return addrs, Reason{}
}

// place returns addr as it shall be on this node, or why it must not be.
func (p *Policy) place(f *Facts, svc *corev1.Service, addr netip.Addr) (vip.Address, error) {
	if why := f.Refuses(addr); why != "" {
		return vip.Address{}, fmt.Errorf("%s: %s", addr, why)
	}
	if len(p.AllowedIPs) > 0 && !slices.ContainsFunc(p.AllowedIPs, func(c netip.Prefix) bool { return c.Contains(addr) }) {
		return vip.Address{}, fmt.Errorf("%s: outside svc_allowed_cidrs", addr)
	}
	if vlan := svc.Annotations[annotations.ServiceVLAN]; vlan != "" {
		return vip.Address{}, fmt.Errorf("%s: %s: not in this version", addr, annotations.ServiceVLAN)
	}
	link := p.Link
	if text, ok := svc.Annotations[annotations.ServiceInterface]; ok && text != "" {
		if err := checkLinkName(text); err != nil {
			return vip.Address{}, fmt.Errorf("%s: %w", annotations.ServiceInterface, err)
		}
		link = text
	}
	if link == autoLink {
		if link = cmp.Or(f.LinkOf(addr), p.AutoLink); link == "" {
			return vip.Address{}, fmt.Errorf("%s: in the subnet of no link", addr)
		}
	}
	bits := p.Bits4
	if addr.Is6() {
		bits = p.Bits6
	}
	if bits == 0 {
		bits = f.BitsOn(link, addr)
	}
	return vip.Address{Prefix: netip.PrefixFrom(addr, bits), Link: link}, nil
}

// autoLink stands for the link whose subnet holds the address.
const autoLink = "auto"

// checkLinkName follows the kernel's dev_valid_name: 1 to 15 bytes, not "." or "..", no slash, colon or space.
func checkLinkName(name string) error {
	bad := func(c rune) bool { return c == '/' || c == ':' || c <= ' ' || c == 0x7f || c == 0x85 || c == 0xa0 }
	if len(name) == 0 || len(name) > 15 || name == "." || name == ".." || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%q can't be the name of a link", clip(name, 40))
	}
	return nil
}

// group fills in the name of the claim and how it is held.
func (w *Wish) group(p *Policy, svc *corev1.Service) error {
	if name := svc.Annotations[annotations.LeaseName]; name != "" {
		namespace, base, found := strings.Cut(name, "/")
		if !found {
			namespace, base = svc.Namespace, name
		}
		if namespace == "" || base == "" || len(name) > 317 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) || strings.Contains(base, "/") {
			return fmt.Errorf("%s: %q is neither a name nor namespace/name", annotations.LeaseName, clip(name, 40))
		}
		w.Group = namespace + "/" + base
	}
	w.Spread = p.Spread || p.OnDemand && annotations.True(svc.Annotations, annotations.ForcePerServiceElection)
	return nil
}

// follow fills in what depends on the endpoints.
func (w *Wish) follow(svc *corev1.Service, eps []*discoveryv1.EndpointSlice) Reason {
	ready, serving := serving(eps)
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		w.Spread = true // the holder of the one lease may have no endpoint
		w.Nodes = ready.nodes
		if len(w.Nodes) == 0 {
			w.Nodes = serving.nodes
		}
		w.Active = len(w.Nodes) > 0
		if !w.Active {
			w.Nodes = []string{}
			return Reason{Name: "NoEndpoints", Text: "no node has a serving endpoint (externalTrafficPolicy Local)", Ours: true}
		}
		return Reason{}
	}
	w.Active = ready.any || serving.any || annotations.True(svc.Annotations, annotations.AllowReconcileWithoutEndpoints)
	if !w.Active {
		return Reason{Name: "NoEndpoints", Text: "no serving endpoint", Ours: true}
	}
	return Reason{}
}

// endpoints is where a Service's traffic can go.
type endpoints struct {
	any   bool
	nodes []string // sorted; endpoints without a node are in none
}

// serving merges the slices of a Service. Endpoints that terminate but still serve are used where no other is ready, as
// kube-proxy does.
func serving(eps []*discoveryv1.EndpointSlice) (ready, terminating endpoints) {
	add := func(e *endpoints, node *string) {
		e.any = true
		if node != nil && *node != "" {
			e.nodes = append(e.nodes, *node)
		}
	}
	for _, slice := range eps {
		for _, ep := range slice.Endpoints {
			c := ep.Conditions
			isReady := c.Ready == nil || *c.Ready
			switch {
			case isReady:
				add(&ready, ep.NodeName)
			case c.Serving != nil && *c.Serving:
				add(&terminating, ep.NodeName)
			}
		}
	}
	for _, e := range []*endpoints{&ready, &terminating} {
		slices.Sort(e.nodes)
		e.nodes = slices.Compact(e.nodes)
	}
	return ready, terminating
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n] + "…"
}
