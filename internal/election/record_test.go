package election_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/election"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, text := range []string{
		`{"incarnation":"boot.1/abc","seq":1}`,
		`{"incarnation":"boot.1/abc","seq":7,"serves":true,"yields":true,"claims":"AAAAAAAAAAEAAAAAAAAAAg","offered":"AAAAAAAAAAE","leases":["kube-system/plndr-cp-lock"]}`,
		`{"incarnation":"boot.1/abc","seq":7,"serves":true,"weight":877,"stations":["02:00:00:00:00:01"]}`,
		`{"incarnation":"boot.1/abc","seq":7,"ended":"AAAAAAAAAAEAAAAAAAAAAg"}`,
		`{"incarnation":"boot.1/abc","seq":7,"serves":true,"claims":"AAAAAAAAAAEAAAAAAAAAAg","untried":"AAAAAAAAAAE"}`,
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

// A member that says that it weighs more than any may has no more than the heaviest would.
func TestRecordWeightIsBounded(t *testing.T) {
	got, err := election.RewriteRecord(`{"incarnation":"boot.1/abc","seq":7,"weight":4000000000}`)
	if want := `{"incarnation":"boot.1/abc","seq":7,"weight":4000}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestRecordNamesEveryFault(t *testing.T) {
	_, err := election.RewriteRecord(`{"claims":"AAA","offered":"!","ended":"-"}`)
	if err == nil || !strings.Contains(err.Error(), "claims") || !strings.Contains(err.Error(), "offered") || !strings.Contains(err.Error(), "ended") {
		t.Errorf("error %v, want one that names claims, offered and ended", err)
	}
}

// A record of a later format is not understood, even where all that is in it could be read, or nothing can.
func TestRecordOfALaterFormat(t *testing.T) {
	if got, err := election.RewriteRecord(`{"format":1,"incarnation":"boot.1/abc","seq":7,"later":[1]}`); err != nil || got != `{"incarnation":"boot.1/abc","seq":7}` {
		t.Errorf("got %s, %v", got, err)
	}
	for _, text := range []string{`{"format":2,"incarnation":"boot.1/abc","seq":7}`, `{"claims":["198.18.0.1"],"format":2}`} {
		if _, err := election.RewriteRecord(text); err == nil || !strings.Contains(err.Error(), "format 2") {
			t.Errorf("%s: error %v, want one that names format 2", text, err)
		}
	}
}

// What no process wrote lists nothing that anybody could rely on.
func TestRecordOfNobody(t *testing.T) {
	for _, text := range []string{``, `{}`, `null`, `{"seq":7,"serves":true}`} {
		if got, err := election.RewriteRecord(text); err == nil {
			t.Errorf("%q became %s, want an error", text, got)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(`{"incarnation":"boot.1/abc","seq":7,"serves":true,"claims":"AAAAAAAAAAEAAAAAAAAAAg","leases":["a/b"],"ended":"AAAAAAAAAAE"}`)
	f.Add(`{"claims":"AAAA"}`)
	f.Add(`{"format":2,"incarnation":"boot.1/abc","claims":[]}`)
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
		if got := election.Mix(c.node, c.claim); got != c.want {
			t.Errorf("score of %s for %s is made of %#x, want %#x", c.node, c.claim, got, c.want)
		}
		u := float64(c.want) / (1 << 64)
		if got, want := election.Score(c.node, c.claim, 1500), 1500/-math.Log(u); math.Abs(got-want) > want/1e9 {
			t.Errorf("score of %s for %s is %v, want %v", c.node, c.claim, got, want)
		}
	}
}

// Shares are as the weights are, and a change of one weight moves claims to or from that node alone.
func TestWeights(t *testing.T) {
	nodes := []string{"a", "b", "c"}
	best := func(claim string, weights map[string]uint32) string {
		return slices.MaxFunc(nodes, func(x, y string) int {
			return int(math.Copysign(1, election.Score(x, claim, weights[x])-election.Score(y, claim, weights[y])))
		})
	}
	even := map[string]uint32{"a": 1000, "b": 1000, "c": 1000}
	light := map[string]uint32{"a": 1000, "b": 500, "c": 1000}
	const n = 20000
	count := map[string]int{}
	for i := range n {
		claim := fmt.Sprint(i)
		was, is := best(claim, even), best(claim, light)
		if was != is && was != "b" {
			t.Fatalf("%s went from %s to %s, though only b's weight changed", claim, was, is)
		}
		count[is]++
	}
	if got := float64(count["b"]) / n; math.Abs(got-0.2) > 0.01 {
		t.Errorf("b with half the weight has %.3f of all, want 0.2", got)
	}
}
