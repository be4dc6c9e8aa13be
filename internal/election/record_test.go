package election_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/election"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, text := range []string{
		`{"incarnation":"boot.1/abc","seq":1}`,
		`{"incarnation":"boot.1/abc","seq":7,"serves":true,"yields":true,"claims":"AAAAAAAAAAEAAAAAAAAAAg","offered":"AAAAAAAAAAE","leases":["kube-system/plndr-cp-lock"]}`,
	} {
		got, err := election.RewriteRecord(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(text, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRecordNamesEveryFault(t *testing.T) {
	_, err := election.RewriteRecord(`{"claims":"AAA","offered":"!"}`)
	if err == nil || !strings.Contains(err.Error(), "claims") || !strings.Contains(err.Error(), "offered") {
		t.Errorf("error %v, want one that names claims and offered", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(`{"incarnation":"boot.1/abc","seq":7,"serves":true,"claims":"AAAAAAAAAAEAAAAAAAAAAg","leases":["a/b"]}`)
	f.Add(`{"claims":"AAAA"}`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, text string) {
		once, err := election.RewriteRecord(text)
		if err != nil {
			return
		}
		twice, err := election.RewriteRecord(once)
		if err != nil || twice != once {
			t.Errorf("%q became %q and then %q, %v", text, once, twice, err)
		}
	})
}

// TestScore holds the scores: members of different versions must agree on them.
func TestScore(t *testing.T) {
	for _, c := range []struct {
		node, claim string
		want        uint64
	}{
		{"node-1", "198.18.0.1", 0x8a76bdf01a78df89},
		{"node-2", "198.18.0.1", 0x96c0ac18b5ee53ef},
		{"node-1", "2001:db8::1", 0xbe4c5479a63e0202},
	} {
		if got := election.Score(c.node, c.claim); got != c.want {
			t.Errorf("score of %s for %s is %#x, want %#x", c.node, c.claim, got, c.want)
		}
	}
}
