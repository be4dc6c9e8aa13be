package equinix_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/provider/equinix"
)

func TestTagsAreThoseOfTheEquinixCCM(t *testing.T) {
	want := []string{
		"usage=cloud-provider-equinix-metal-auto", "service=l7RnKS8k48oG3Qv3Pxx8FzEMj3X3E5c8JPOIzyLWWdY=", "cluster=uid-1",
	}
	if d := cmp.Diff(want, equinix.Tags("default/nginx", "uid-1")); d != "" {
		t.Error(d)
	}
}
