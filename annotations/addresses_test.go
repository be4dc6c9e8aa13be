package annotations_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"net/netip"

	"daymark/annotations"
)

func TestParseRequests(t *testing.T) {
	for value, want := range map[string]string{
		"":                            "",
		"  ":                          "",
		"192.0.2.1":                   "192.0.2.1",
		" 192.0.2.1 , 2001:DB8::1":    "192.0.2.1,2001:db8::1",
		"::ffff:192.0.2.1":            "192.0.2.1",
		"0.0.0.0,::":                  "0.0.0.0,::",
		"Web.Example.org,192.0.2.200": "web.example.org,192.0.2.200",
	} {
		got, err := annotations.ParseRequests(value)
		if err != nil || annotations.FormatRequests(got) != want {
			t.Errorf("%q: got %v, %v, want %q", value, got, err, want)
		}
	}
}

func TestParseRequestsNamesEveryWrongElement(t *testing.T) {
	_, err := annotations.ParseRequests("192.0.2.256,192.0.2.1,fe80::1%eth0,a..b,")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"192.0.2.256"`, `"fe80::1%eth0"`, `"a..b"`, `""`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	if _, err := annotations.ParseRequests(strings.Repeat("192.0.2.1,", 1000)); err == nil {
		t.Error("an endless list is taken")
	}
}

func TestDHCPRequest(t *testing.T) {
	got, _ := annotations.ParseRequests("0.0.0.0,::,192.0.2.1,a.example")
	var dhcp []bool
	for _, r := range got {
		dhcp = append(dhcp, r.DHCP())
	}
	if d := cmp.Diff([]bool{true, true, false, false}, dhcp); d != "" {
		t.Error(d)
	}
}

func FuzzParseRequests(f *testing.F) {
	f.Add("192.0.2.1,2001:db8::1")
	f.Add("0.0.0.0, a.example")
	f.Fuzz(func(t *testing.T, value string) {
		got, err := annotations.ParseRequests(value)
		if err != nil {
			return
		}
		again, err := annotations.ParseRequests(annotations.FormatRequests(got))
		if err != nil || !cmp.Equal(got, again, cmpopts.EquateComparable(netip.Addr{})) {
			t.Errorf("%q: %v, then %v, %v", value, got, again, err)
		}
	})
}
