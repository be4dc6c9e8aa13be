package agent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/internal/agent"
	"daymark/internal/vip"
)

// service returns a Service of type LoadBalancer in namespace default with an address.
func service(name, addrs string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1", Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	if addrs != "" {
		svc.Annotations[annotations.LoadBalancerIPs] = addrs
	}
	for _, f := range change {
		f(svc)
	}
	return svc
}

func annotated(key, value string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations[key] = value }
}

func class(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
}

func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func status(addrs ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		for _, a := range addrs {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
	}
}

func specIP(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = ip }
}

// slice returns an EndpointSlice with an endpoint for each "node", "node:ready", "node:terminating" or "node:down".
func slice(svc string, n int, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: fmt.Sprintf("%s-%d", svc, n), Labels: map[string]string{discoveryv1.LabelServiceName: svc},
	}, AddressType: discoveryv1.AddressTypeIPv4}
	for i, e := range endpoints {
		node, kind, _ := strings.Cut(e, ":")
		ready, serving := kind == "" || kind == "ready", kind != "down"
		ep := discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("198.18.%d.%d", n, i)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving},
		}
		if node != "" {
			ep.NodeName = &node
		}
		s.Endpoints = append(s.Endpoints, ep)
	}
	return s
}

func defaultPolicy() agent.Policy {
	return agent.Policy{ClassName: annotations.DefaultClass, ClassLegacy: true, Link: "eth0", Bits4: 32, Bits6: 128}
}

var someFacts = agent.NewFacts([]agent.Reserved{
	{Prefix: netip.MustParsePrefix("192.0.2.2/32"), What: "an address of node n1"},
	{Prefix: netip.MustParsePrefix("198.51.100.0/24"), What: "in the pod network of node n1"},
	{Prefix: netip.MustParsePrefix("2001:db8:1::/48"), What: "in the cluster's service network"},
}, []agent.Subnet{
	{Link: "eth0", Prefix: netip.MustParsePrefix("192.0.2.2/24")},
	{Link: "eth1", Prefix: netip.MustParsePrefix("203.0.113.9/28")},
	{Link: "eth1", Prefix: netip.MustParsePrefix("2001:db8::9/64")},
})

// show returns what was decided as one line.
func show(w agent.Wish, r agent.Reason) string {
	var parts []string
	for _, a := range w.Addresses {
		parts = append(parts, a.String())
	}
	if w.Group != "" {
		parts = append(parts, "group "+w.Group)
	}
	if w.Spread {
		parts = append(parts, "spread")
	}
	if w.Nodes != nil {
		parts = append(parts, "nodes "+strings.Join(w.Nodes, ","))
	}
	if len(w.Addresses) > 0 && !w.Active {
		parts = append(parts, "inactive")
	}
	if r.Name != "" {
		kind := "not ours"
		switch {
		case r.Ours && r.Warning:
			kind = "warning"
		case r.Ours:
			kind = "note"
		}
		parts = append(parts, kind+" "+r.Name+": "+r.Text)
	}
	return strings.Join(parts, "; ")
}

func TestDesired(t *testing.T) {
	there := []*discoveryv1.EndpointSlice{slice("web", 0, "n1")}
	const held = "192.0.2.10/32 on eth0"
	for name, test := range map[string]struct {
		svc    *corev1.Service
		eps    []*discoveryv1.EndpointSlice
		policy func(*agent.Policy)
		want   string
	}{
		"an address":                          {svc: service("web", "192.0.2.10"), want: held},
		"two families":                        {svc: service("web", "2001:db8::10,192.0.2.10"), want: held + "; 2001:db8::10/128 on eth0"},
		"no address":                          {svc: service("web", ""), want: "note NoAddress: no address yet"},
		"an empty annotation":                 {svc: service("web", " ", specIP("192.0.2.10")), want: held},
		"a nonsense address":                  {svc: service("web", "192.0.2.300"), want: `warning BadAddress: kube-vip.io/loadbalancerIPs: "192.0.2.300" is neither an IP address nor a host name`},
		"a host name":                         {svc: service("web", "web.example"), want: `warning NotSupported: kube-vip.io/loadbalancerIPs: host name "web.example": not in this version`},
		"DHCP":                                {svc: service("web", "0.0.0.0"), want: `warning NotSupported: kube-vip.io/loadbalancerIPs: 0.0.0.0: addresses by DHCP are not in this version`},
		"spec.loadBalancerIP":                 {svc: service("web", "", specIP("192.0.2.10")), want: held},
		"annotation before spec":              {svc: service("web", "192.0.2.10", specIP("192.0.2.11")), want: held},
		"spec before status where it differs": {svc: service("web", "", specIP("192.0.2.10"), status("192.0.2.12")), want: held},
		"status before spec where it has it":  {svc: service("web", "", specIP("192.0.2.10"), status("192.0.2.10", "2001:db8::10")), want: held + "; 2001:db8::10/128 on eth0"},
		"status alone":                        {svc: service("web", "", status("192.0.2.10")), want: held},

		"another type": {svc: service("web", "192.0.2.10", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
			want: "not ours NotOurs: not of type LoadBalancer"},
		"being deleted": {svc: service("web", "192.0.2.10", func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{} }),
			want: "not ours NotOurs: being deleted"},
		"ignored":              {svc: service("web", "192.0.2.10", annotated(annotations.Ignore, "true")), want: "not ours NotOurs: annotated kube-vip.io/ignore"},
		"our class":            {svc: service("web", "192.0.2.10", class(annotations.DefaultClass)), want: held},
		"another class":        {svc: service("web", "192.0.2.10", class("other")), want: "not ours NotOurs: of another load balancer class"},
		"no class, class only": {svc: service("web", "192.0.2.10"), policy: func(p *agent.Policy) { p.ClassOnly = true }, want: "not ours NotOurs: no load balancer class"},
		"no class, exact":      {svc: service("web", "192.0.2.10"), policy: func(p *agent.Policy) { p.ClassLegacy = false }, want: "not ours NotOurs: no load balancer class"},
		"any class, exact with no name": {svc: service("web", "192.0.2.10", class("other")),
			policy: func(p *agent.Policy) { p.ClassLegacy, p.ClassName = false, "" }, want: held},

		"a node's address": {svc: service("web", "192.0.2.2,192.0.2.10"), want: held + "; warning AddressRefused: 192.0.2.2: an address of node n1"},
		"only a node's":    {svc: service("web", "192.0.2.2"), want: "warning AddressRefused: 192.0.2.2: an address of node n1"},
		"a pod's":          {svc: service("web", "198.51.100.77"), want: "warning AddressRefused: 198.51.100.77: in the pod network of node n1"},
		"a Service's":      {svc: service("web", "2001:db8:1::5"), want: "warning AddressRefused: 2001:db8:1::5: in the cluster's service network"},
		"loopback":         {svc: service("web", "127.0.0.1"), want: "warning AddressRefused: 127.0.0.1: not an address that a Service can have"},
		"broadcast":        {svc: service("web", "192.0.2.255"), want: "warning AddressRefused: 192.0.2.255: network or broadcast address of 192.0.2.0/24 on eth0"},
		"mapped IPv4":      {svc: service("web", "::ffff:192.0.2.2"), want: "warning AddressRefused: 192.0.2.2: an address of node n1"},
		"not allowed": {svc: service("web", "192.0.2.10"), policy: func(p *agent.Policy) { p.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.64/26")} },
			want: "warning AddressRefused: 192.0.2.10: outside svc_allowed_cidrs"},

		"auto link":                {svc: service("web", "203.0.113.10,192.0.2.10,2001:db8::5", annotated(annotations.ServiceInterface, "auto")), want: held + "; 203.0.113.10/32 on eth1; 2001:db8::5/128 on eth1"},
		"auto link, no subnet":     {svc: service("web", "203.0.113.100", annotated(annotations.ServiceInterface, "auto")), want: "warning AddressRefused: 203.0.113.100: in the subnet of no link"},
		"a link of its own":        {svc: service("web", "192.0.2.10", annotated(annotations.ServiceInterface, "eth7")), want: "192.0.2.10/32 on eth7"},
		"no link name":             {svc: service("web", "192.0.2.10", annotated(annotations.ServiceInterface, "../../sys")), want: `warning AddressRefused: kube-vip.io/serviceInterface: "../../sys" can't be the name of a link`},
		"the link's prefix length": {svc: service("web", "192.0.2.10"), policy: func(p *agent.Policy) { p.Bits4 = 0 }, want: "192.0.2.10/24 on eth0"},
		"a VLAN":                   {svc: service("web", "192.0.2.10", annotated(annotations.ServiceVLAN, "eth0.200")), want: "warning AddressRefused: 192.0.2.10: kube-vip.io/serviceVLAN: not in this version"},

		"a lease name":                 {svc: service("web", "192.0.2.10", annotated(annotations.LeaseName, "x")), want: held + "; group default/x"},
		"a lease name elsewhere":       {svc: service("web", "192.0.2.10", annotated(annotations.LeaseName, "shop/x")), want: held + "; group shop/x"},
		"a wrong lease name":           {svc: service("web", "192.0.2.10", annotated(annotations.LeaseName, "a/b/c")), want: `warning BadAnnotation: kube-vip.io/leaseName: "a/b/c" is neither a name nor namespace/name`},
		"spread":                       {svc: service("web", "192.0.2.10"), policy: func(p *agent.Policy) { p.Spread = true }, want: held + "; spread"},
		"spread on demand":             {svc: service("web", "192.0.2.10", annotated(annotations.ForcePerServiceElection, "true")), policy: func(p *agent.Policy) { p.OnDemand = true }, want: held + "; spread"},
		"on demand, not asked":         {svc: service("web", "192.0.2.10"), policy: func(p *agent.Policy) { p.OnDemand = true }, want: held},
		"asked, but not to be had":     {svc: service("web", "192.0.2.10", annotated(annotations.ForcePerServiceElection, "true")), want: held},
		"no endpoint":                  {svc: service("web", "192.0.2.10"), eps: []*discoveryv1.EndpointSlice{}, want: held + "; inactive; note NoEndpoints: no serving endpoint"},
		"no endpoint, allowed":         {svc: service("web", "192.0.2.10", annotated(annotations.AllowReconcileWithoutEndpoints, "true")), eps: []*discoveryv1.EndpointSlice{}, want: held},
		"only terminating endpoints":   {svc: service("web", "192.0.2.10"), eps: []*discoveryv1.EndpointSlice{slice("web", 0, "n1:terminating")}, want: held},
		"only endpoints that are down": {svc: service("web", "192.0.2.10"), eps: []*discoveryv1.EndpointSlice{slice("web", 0, "n1:down")}, want: held + "; inactive; note NoEndpoints: no serving endpoint"},
		"an endpoint on no node":       {svc: service("web", "192.0.2.10"), eps: []*discoveryv1.EndpointSlice{slice("web", 0, "")}, want: held},
		"Local": {svc: service("web", "192.0.2.10", local),
			eps:  []*discoveryv1.EndpointSlice{slice("web", 0, "n2", "n1", "n3:down"), slice("web", 1, "n1", "n4:terminating")},
			want: held + "; spread; nodes n1,n2"},
		"Local, all terminating": {svc: service("web", "192.0.2.10", local), eps: []*discoveryv1.EndpointSlice{slice("web", 0, "n2:terminating", "n3:down")},
			want: held + "; spread; nodes n2"},
		"Local, nowhere": {svc: service("web", "192.0.2.10", local, annotated(annotations.AllowReconcileWithoutEndpoints, "true")), eps: []*discoveryv1.EndpointSlice{slice("web", 0, "n3:down")},
			want: held + "; spread; nodes ; inactive; note NoEndpoints: no node has a serving endpoint (externalTrafficPolicy Local)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := defaultPolicy()
			if test.policy != nil {
				test.policy(&p)
			}
			eps := test.eps
			if eps == nil {
				eps = there
			}
			if got := show(agent.Desired(&p, someFacts, test.svc, eps)); got != test.want {
				t.Errorf("\ngot  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestConditionsThatAreNotSetMeanReady(t *testing.T) {
	eps := []*discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{}}}}
	p := defaultPolicy()
	if w, _ := agent.Desired(&p, someFacts, service("web", "192.0.2.10"), eps); !w.Active {
		t.Error("not active")
	}
}

// Whatever tenants write, what comes out is addresses that nobody else has, on links that can be.
func FuzzDesired(f *testing.F) {
	f.Add("192.0.2.10,2001:db8::1", "", "eth0", "shop/x", "192.0.2.11")
	f.Add("0.0.0.0", "ff02::1", "auto", "/", "::ffff:192.0.2.2")
	f.Add("192.0.2.2", "fe80::1%eth0", "..", "a/b/c", "255.255.255.255")
	f.Fuzz(func(t *testing.T, addrs, ingress, link, lease, spec string) {
		svc := service("web", addrs, specIP(spec), status(ingress),
			annotated(annotations.ServiceInterface, link), annotated(annotations.LeaseName, lease))
		p := defaultPolicy()
		w, r := agent.Desired(&p, someFacts, svc, []*discoveryv1.EndpointSlice{slice("web", 0, "n1")})
		if len(w.Addresses) == 0 && r.Name == "" {
			t.Error("neither an address nor a reason")
		}
		for _, a := range w.Addresses {
			ip := a.Prefix.Addr()
			if !ip.IsValid() || ip.Zone() != "" || ip.Is4In6() || someFacts.Refuses(ip) != "" {
				t.Errorf("%s is not to be had", a)
			}
			if l := a.Link; l == "" || len(l) > 15 || strings.ContainsAny(l, "/: \n\t\x00") {
				t.Errorf("%q is no link", l)
			}
		}
		if !slices.IsSortedFunc(w.Addresses, vip.Compare) {
			t.Error("not sorted")
		}
		if strings.Count(w.Group, "/") > 1 || strings.ContainsAny(w.Group, " \n") || strings.Contains(r.Text, "\n") {
			t.Errorf("group %q, reason %q", w.Group, r.Text)
		}
	})
}
