package provider_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/provider"
)

// What the agents' label says is excluded, as they write it: of both families, and of several addresses.
func TestNodeExclusionsOfTheHoldersLabel(t *testing.T) {
	for value, want := range map[string][]string{
		"192.0.2.2":                      {"192.0.2.2/32"},
		"2001-db8--1":                    {"2001:db8::1/128"},
		"192.0.2.2_2001-db8--0":          {"192.0.2.2/32", "2001:db8::/128"},
		"192.0.2.2_192.0.2.3_not-an-one": {"192.0.2.2/32", "192.0.2.3/32"},
		"":                               nil,
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{annotations.HasIPLabel: value}}}
		var got []string
		for _, e := range provider.NodeExclusions(node) {
			got = append(got, e.Prefix.String())
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", value, d)
		}
	}
}
