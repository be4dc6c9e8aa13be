package annotations_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"daymark/annotations"
)

const (
	longest  = "2001:db8:1111:2222:3333:4444:5555:6666"
	longest2 = "2001:db8:1111:2222:3333:4444:5555:7777"
)

func addresses(text string) []netip.Addr {
	var out []netip.Addr
	for _, t := range strings.Fields(text) {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestLabelAddresses(t *testing.T) {
	for _, c := range []struct{ addrs, value, back string }{
		{"", "", ""},
		{"192.0.2.1", "192.0.2.1", "192.0.2.1"},
		{"2001:db8:: 192.0.2.1", "192.0.2.1_2001-db8--0", "192.0.2.1 2001:db8::"},
		{"::1 ::", "0--0_0--1", ":: ::1"},
		{"fe80::1%eth0", "fe80--1", "fe80::1"},
		// The longest pair of families fits; of two such of one family the second does not, but a short third does.
		{longest + " 192.168.100.200", "192.168.100.200_2001-db8-1111-2222-3333-4444-5555-6666", "192.168.100.200 " + longest},
		{longest2 + " " + longest, "2001-db8-1111-2222-3333-4444-5555-6666", longest},
		{"fd00::1 " + longest2 + " " + longest, "2001-db8-1111-2222-3333-4444-5555-6666_fd00--1", longest + " fd00::1"},
		{"10.100.100.101 10.100.100.102 10.100.100.103 10.100.100.104 10.100.100.105",
			"10.100.100.101_10.100.100.102_10.100.100.103_10.100.100.104", "10.100.100.101 10.100.100.102 10.100.100.103 10.100.100.104"},
	} {
		value := annotations.FormatLabelAddresses(addresses(c.addrs))
		if value != c.value {
			t.Errorf("%s is %q, want %q", c.addrs, value, c.value)
		}
		back, err := annotations.ParseLabelAddresses(value)
		if d := cmp.Diff(addresses(c.back), back, cmpopts.EquateComparable(netip.Addr{})); err != nil || d != "" {
			t.Errorf("%q: %v %s", value, err, d)
		}
	}
	got, err := annotations.ParseLabelAddresses("x_192.0.2.1_")
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("of a wrong value came %v, %v", got, err)
	}
}

func FuzzParseLabelAddresses(f *testing.F) {
	for _, s := range []string{"", "192.0.2.1", "192.0.2.1_2001-db8--0", "0--1", "a,b", "_", "--ffff-1.2.3.4", "fe80--1%x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		addrs, _ := annotations.ParseLabelAddresses(value)
		text := annotations.FormatLabelAddresses(addrs)
		if len(text) > annotations.LabelLimit || strings.ContainsAny(text, ",:%") {
			t.Fatalf("%q", text)
		}
		again, err := annotations.ParseLabelAddresses(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range again {
			if !slices.ContainsFunc(addrs, func(b netip.Addr) bool { return a == b.WithZone("") }) {
				t.Fatalf("%s came of %q", a, value)
			}
		}
	})
}
