package typo_test

import (
	"testing"

	"daymark/internal/typo"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "cidr", 4},
		{"cidr-", "cidr-", 0},
		{"cdir-", "cidr-", 2},
		{"exlude", "exclude", 1},
		{"range", "orange", 1},
		{"vip_arp", "vip_bgp", 2},
		{"kitten", "sitting", 3},
	} {
		if got := typo.Distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q is %d, want %d", c.a, c.b, got, c.want)
		}
		if got := typo.Distance(c.b, c.a); got != c.want {
			t.Errorf("%q to %q is %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
