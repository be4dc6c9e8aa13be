package annotations_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/annotations"
)

func TestParseCommunities(t *testing.T) {
	for value, want := range map[string]string{
		"": "", " ": "", "65000:2, 65000:1,65000:2": "65000:1,65000:2",
		"graceful-shutdown,no-export": "65535:0,65535:65281", "0:0,65535:65535": "0:0,65535:65535",
	} {
		got, err := annotations.ParseCommunities(value)
		if err != nil || annotations.FormatCommunities(got) != want {
			t.Errorf("%q: got %v, %v, want %q", value, got, err, want)
		}
	}
	for value, want := range map[string]string{"": "", "4294967295:0:2,65000:1:2,65000:1:2": "65000:1:2,4294967295:0:2"} {
		got, err := annotations.ParseLargeCommunities(value)
		if err != nil || annotations.FormatLargeCommunities(got) != want {
			t.Errorf("%q: got %v, %v, want %q", value, got, err, want)
		}
	}
}

func TestParseCommunitiesNamesEveryWrongElement(t *testing.T) {
	_, err := annotations.ParseCommunities("65536:1,1,1:2:3,a:b,,1:-1")
	_, large := annotations.ParseLargeCommunities("1:2,4294967296:1:1")
	if err == nil || large == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"65536:1"`, `"1"`, `"1:2:3"`, `"a:b"`, `""`, `"1:-1"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	if !strings.Contains(large.Error(), `"1:2"`) || !strings.Contains(large.Error(), `"4294967296:1:1"`) {
		t.Error(large)
	}
	if _, err := annotations.ParseCommunities(strings.Repeat("1:1,", 1000)); err == nil {
		t.Error("an endless list is taken")
	}
}

func TestParseMetric(t *testing.T) {
	if got, err := annotations.ParseMetric(" "); got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := annotations.ParseMetric("4294967295"); err != nil || *got != 1<<32-1 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := annotations.ParseMetric("-1"); err == nil || !strings.Contains(err.Error(), `"-1"`) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseCommunities(f *testing.F) {
	f.Add("65000:1,no-export")
	f.Add("65000:1:2")
	f.Fuzz(func(t *testing.T, value string) {
		if got, err := annotations.ParseCommunities(value); err == nil {
			if again, err := annotations.ParseCommunities(annotations.FormatCommunities(got)); err != nil || !cmp.Equal(got, again) {
				t.Errorf("%q: %v, then %v, %v", value, got, again, err)
			}
		}
		if got, err := annotations.ParseLargeCommunities(value); err == nil {
			if again, err := annotations.ParseLargeCommunities(annotations.FormatLargeCommunities(got)); err != nil || !cmp.Equal(got, again) {
				t.Errorf("%q: %v, then %v, %v", value, got, again, err)
			}
		}
	})
}
