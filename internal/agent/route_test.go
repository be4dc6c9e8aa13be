package agent_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/internal/agent"
	"daymark/internal/vip"
)

func TestDesiredTellsRouters(t *testing.T) {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{
			annotations.LoadBalancerIPs: "192.0.2.10", annotations.BGPCommunities: "no-export,65000:100", annotations.BGPLargeCommunities: "65000:1:2",
			annotations.BGPLocalPref: "200", annotations.BGPMED: "many",
		}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	p := &agent.Policy{ClassLegacy: true, Link: "eth0", Bits4: 32, Bits6: 128}
	w, reason := agent.Desired(p, agent.NewFacts(nil, nil), svc, nil)
	pref := uint32(200)
	want := []vip.Address{{Prefix: netip.MustParsePrefix("192.0.2.10/32"), Link: "eth0", Route: vip.Route{
		Communities: []uint32{65000<<16 | 100, 0xffffff01}, LargeCommunities: [][3]uint32{{65000, 1, 2}}, LocalPref: &pref,
	}}}
	if d := cmp.Diff(want, w.Addresses, cmp.Comparer(vip.Address.Equal)); d != "" {
		t.Error(d)
	}
	if !reason.Warning || !strings.Contains(reason.Text, annotations.BGPMED) || !strings.Contains(reason.Text, `"many"`) {
		t.Errorf("the wrong value isn't told: %+v", reason)
	}
}
