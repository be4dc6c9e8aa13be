package equinix_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"daymark/provider/equinix"
)

func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

const oldFile = `{
  "apiKey": "abc123abc123abc123", "projectID": "abc123abc123abc123", "metro": "da", "facility": "", "loadbalancer": "kube-vip://",
  "localASN": 65100, "apiServerPort": 6443, "eipTag": "cluster-api-provider-packet:cluster-id:one", "bgpNodeSelector": "pool in (a, b)",
  "annotationPeerIP": "example.org/bgp-peers-{{n}}-peer-ip", "base-url": "https://metal.example/metal/v1/"
}`

func TestFileOfTheOlderCCM(t *testing.T) {
	c, err := equinix.ParseConfig([]byte(oldFile), env())
	if err != nil {
		t.Fatal(err)
	}
	if c.LocalASN != 65100 || c.APIServerPort != 6443 || c.LoadBalancer != equinix.KubeVIP || c.Client.Project != "abc123abc123abc123" ||
		c.EIPTag != "cluster-api-provider-packet:cluster-id:one" || c.Keys.PeerIP != "example.org/bgp-peers-{{n}}-peer-ip" ||
		c.Keys.SrcIP != "metal.equinix.com/bgp-peers-{{n}}-src-ip" {
		t.Errorf("%+v", c)
	}
	if !c.BGPNodes.Matches(labels.Set{"pool": "a"}) || c.BGPNodes.Matches(labels.Set{"pool": "c"}) {
		t.Error("selector", c.BGPNodes)
	}
}

func TestEnvironmentBeatsTheFile(t *testing.T) {
	c, err := equinix.ParseConfig([]byte(oldFile), env("METAL_LOCAL_ASN", "65200", "METAL_METRO_NAME", "sv", "METAL_LOAD_BALANCER", "empty://"))
	if err != nil || c.LocalASN != 65200 || c.Metro != "sv" || c.LoadBalancer != equinix.Empty {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestEveryWrongKeyIsNamed(t *testing.T) {
	_, err := equinix.ParseConfig([]byte(`{"apiKey": "top-secret-token", "bgpPass": ["also-secret"], "localASN": "x", "apiServerPort": 70000,
		"eipHealthCheckUseHostIP": "maybe", "bgpNodeSelector": "a in", "loadBalancer": "metallb:///", "metroo": "da", "annotationSrcIP": "a/b"}`), env())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"localASN", "apiServerPort", "eipHealthCheckUseHostIP", "bgpNodeSelector", "loadBalancer", "metroo", "bgpPass", "projectId", "{{n}}"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("a secret is shown in\n%v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(oldFile))
	f.Add([]byte("apiKey: top-secret-token\nmetro: da\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if c, err := equinix.ParseConfig(file, env()); err == nil && (c.Client.Token == "" || c.BGPNodes == nil) {
			t.Errorf("half a configuration: %+v", c)
		}
	})
}
