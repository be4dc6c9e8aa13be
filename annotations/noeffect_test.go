package annotations_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/annotations"
)

func TestWithoutEffect(t *testing.T) {
	for name, test := range map[string]struct {
		set  map[string]string
		want []string
	}{
		"none":               {},
		"what has an effect": {set: map[string]string{annotations.LoadBalancerIPs: "192.0.2.10", annotations.LeaseName: "x", annotations.BGPMED: "1", annotations.VIPHost: "n1"}},
		"what is refused":    {set: map[string]string{annotations.ServiceVLAN: "eth0.200"}},
		"what nobody knows":  {set: map[string]string{annotations.Egress + "-x": "true", "example.org/ddns": "true"}},
		"nothing asked for":  {set: map[string]string{annotations.DDNS: "false", annotations.MACVLANName: "", annotations.Egress: "false"}},
		"sorted": {
			set:  map[string]string{annotations.ForwardUPnP: "true", annotations.Egress: "true", annotations.RPFilter: "0", annotations.DDNS: "true"},
			want: []string{"kube-vip.io/ddns", "kube-vip.io/egress", "kube-vip.io/forwardUPNP", "kube-vip.io/rp_filter"},
		},
	} {
		if d := cmp.Diff(test.want, annotations.WithoutEffect(test.set)); d != "" {
			t.Error(name, d)
		}
	}
}
