package annotations_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"daymark/annotations"
)

const prefix = "bgp.example.org"

// node builds annotations from lines of "key=value" under prefix.
func node(lines ...string) map[string]string {
	out := map[string]string{"kubernetes.io/arch": "amd64", prefix + "/network-4-private": "10.0.0.0/8"}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, "=")
		out[prefix+"/"+key] = value
	}
	return out
}

// lines shows peers as one text each.
func lines(b annotations.NodeBGP) []string {
	var out []string
	for _, p := range b.Peers {
		out = append(out, fmt.Sprintf("%d %s -> %d %s %q %v", p.LocalASN, p.Source, p.PeerASN, p.Peer, string(p.Password), p.Multihop))
	}
	return out
}

func TestParseNodeBGP(t *testing.T) {
	plain := []string{"node-asn=65000", "src-ip=10.1.1.1", "peer-asn=65530", "peer-ip=169.254.255.2,169.254.255.1"}
	for name, test := range map[string]struct {
		in   []string
		want []string
	}{
		"plain keys, sorted by address": {
			plain,
			[]string{`65000 10.1.1.1 -> 65530 169.254.255.1 "" false`, `65000 10.1.1.1 -> 65530 169.254.255.2 "" false`},
		},
		"each index is its own": {
			[]string{
				"bgp-peers-10-node-asn=65010", "bgp-peers-10-src-ip=10.1.1.10", "bgp-peers-10-peer-asn=65110", "bgp-peers-10-peer-ip=10.9.9.1",
				"bgp-peers-2-node-asn=65002", "bgp-peers-2-src-ip=2001:db8::2", "bgp-peers-2-peer-asn=4200000000", "bgp-peers-2-peer-ip= 2001:db8::1 ",
				"bgp-peers-2-bgp-pass=c2VjcmV0", "bgp-peers-2-peer-multi-hop=true", "bgp-peers-10-peer-multi-hop=false",
			},
			[]string{`65002 2001:db8::2 -> 4200000000 2001:db8::1 "secret" true`, `65010 10.1.1.10 -> 65110 10.9.9.1 "" false`},
		},
		"both generations are one set": {
			append([]string{
				"bgp-peers-0-node-asn=65000", "bgp-peers-0-src-ip=10.1.1.1", "bgp-peers-0-peer-asn=65530", "bgp-peers-0-peer-ip=169.254.255.1",
				"bgp-peers-0-bgp-pass=c2VjcmV0",
			}, plain...),
			[]string{`65000 10.1.1.1 -> 65530 169.254.255.1 "secret" false`, `65000 10.1.1.1 -> 65530 169.254.255.2 "" false`},
		},
		"the node's facts may stand alone": {
			[]string{"node-asn=65000", "src-ip=10.1.1.1", "bgp-peers-0-peer-asn=65530", "bgp-peers-0-peer-ip=169.254.255.1"},
			[]string{`65000 10.1.1.1 -> 65530 169.254.255.1 "" false`},
		},
		"said twice alike": {
			[]string{"node-asn=65000", "src-ip=10.1.1.1", "bgp-peers-0-peer-asn=1", "bgp-peers-0-peer-ip=10.0.0.1", "bgp-peers-1-peer-asn=1", "bgp-peers-1-peer-ip=::ffff:10.0.0.1"},
			[]string{`65000 10.1.1.1 -> 1 10.0.0.1 "" false`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := annotations.ParseNodeBGP(prefix, node(test.in...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, lines(got)); d != "" {
				t.Error(d)
			}
			again, err := annotations.ParseNodeBGP(prefix+"/", got.Format(prefix+"/"))
			if err != nil || !cmp.Equal(got, again, compareAddrs) {
				t.Errorf("formatted and parsed again: %v, %v", again, err)
			}
		})
	}
}

func TestParseNodeBGPSaysWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		in      []string
		missing []string
		peers   int
	}{
		"nothing yet":         {nil, []string{"/node-asn", "/src-ip", "/peer-asn", "/peer-ip"}, 0},
		"half a set":          {[]string{"node-asn=65000", "peer-ip=10.0.0.1"}, []string{"/src-ip", "/peer-asn"}, 0},
		"an empty value":      {[]string{"node-asn=65000", "src-ip=10.1.1.1", "peer-asn=1", "peer-ip="}, []string{"/peer-ip"}, 0},
		"one index of two":    {[]string{"node-asn=1", "src-ip=10.1.1.1", "bgp-peers-0-peer-asn=2", "bgp-peers-0-peer-ip=10.0.0.1", "bgp-peers-1-peer-asn=2"}, []string{"/bgp-peers-1-peer-ip"}, 1},
		"the other's is told": {[]string{"bgp-peers-0-peer-asn=2"}, []string{"/bgp-peers-0-node-asn", "/bgp-peers-0-src-ip", "/bgp-peers-0-peer-ip"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := annotations.ParseNodeBGP(prefix, node(test.in...))
			if !errors.Is(err, annotations.ErrIncomplete) || len(got.Peers) != test.peers {
				t.Fatalf("got %v, %v", got, err)
			}
			for _, key := range test.missing {
				if !strings.Contains(err.Error(), prefix+key) {
					t.Errorf("%q does not name %s", err, key)
				}
			}
		})
	}
}

func TestParseNodeBGPNamesEveryWrongValue(t *testing.T) {
	_, err := annotations.ParseNodeBGP(prefix, node(
		"bgp-peers-0-node-asn=0", "bgp-peers-0-src-ip=10.1.1.256", "bgp-peers-0-peer-asn=4294967296", "bgp-peers-0-peer-ip=10.0.0.1,fe80::1%eth0,0.0.0.0",
		"bgp-peers-0-bgp-pass=hunter2!", "bgp-peers-0-peer-multi-hop=yes", "bgp-peers-x-peer-ip=10.0.0.1", "bgp-peers-01-peer-ip=10.0.0.1",
		"bgp-peers-3-node-asn=1", "bgp-peers-3-src-ip=10.1.1.1", "bgp-peers-3-peer-asn=2", "bgp-peers-3-peer-ip=10.0.0.9",
		"bgp-peers-4-node-asn=1", "bgp-peers-4-src-ip=10.1.1.1", "bgp-peers-4-peer-asn=3", "bgp-peers-4-peer-ip=10.0.0.9",
	))
	if err == nil || errors.Is(err, annotations.ErrIncomplete) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		`bgp-peers-0-node-asn="0"`, `src-ip="10.1.1.256"`, `peer-asn="4294967296"`, `"fe80::1%eth0"`, `"0.0.0.0"`, "bgp-peers-0-bgp-pass", `multi-hop="yes"`,
		`"x"`, `"01"`, "bgp-peers-4-peer-ip", "bgp-peers-3-peer-ip",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q\ndoes not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error shows the password")
	}
}

func TestParseNodeBGPIsBounded(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("bgp-peers-%d-peer-asn=1", i), fmt.Sprintf("bgp-peers-%d-peer-ip=10.0.%d.%d", i, i/256, i%256))
	}
	if got, err := annotations.ParseNodeBGP(prefix, node(append(many, "node-asn=1", "src-ip=10.1.1.1")...)); err == nil {
		t.Errorf("%d peers are taken", len(got.Peers))
	}
}

func TestPasswordIsNeverShown(t *testing.T) {
	p := annotations.NodePeer{Password: "hunter2"}
	asJSON, _ := json.Marshal(p)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", p, p, p, p.Password), string(asJSON)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestIsNodeBGPKey(t *testing.T) {
	for key, want := range map[string]bool{
		prefix + "/node-asn": true, prefix + "/bgp-peers-7-peer-multi-hop": true, prefix + "/bgp-peers-x-peer-ip": false,
		prefix + "/network-4-private": false, "other.example/node-asn": false, "node-asn": false,
	} {
		if got := annotations.IsNodeBGPKey(prefix, key); got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
}

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func FuzzParseNodeBGP(f *testing.F) {
	f.Add("node-asn=65000\nsrc-ip=10.1.1.1\npeer-asn=65530\npeer-ip=169.254.255.2,169.254.255.1")
	f.Add("bgp-peers-0-node-asn=65000\nbgp-peers-0-src-ip=10.1.1.1\nbgp-peers-0-peer-asn=65530\nbgp-peers-0-peer-ip=::1\nbgp-peers-0-bgp-pass=c2VjcmV0")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := annotations.ParseNodeBGP(prefix, node(strings.Split(text, "\n")...))
		if err != nil && !errors.Is(err, annotations.ErrIncomplete) {
			if len(got.Peers) > 0 {
				t.Fatal("peers and an error")
			}
			return
		}
		again, err := annotations.ParseNodeBGP(prefix, got.Format(prefix))
		if (err != nil) != (len(got.Peers) == 0) || !cmp.Equal(got.Peers, again.Peers, compareAddrs, cmpopts.EquateEmpty()) {
			t.Errorf("%q: %v, then %v, %v", text, got, again, err)
		}
		for key := range got.Format(prefix) {
			if !annotations.IsNodeBGPKey(prefix, key) {
				t.Errorf("%s is not seen as one of ours", key)
			}
		}
	})
}
