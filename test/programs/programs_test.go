package programs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/test/programs"
)

// TestFind takes assets where they are and the cache's for the rest, and says what
// is missing.
func TestFind(t *testing.T) {
	cache, assets := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("KUBEBUILDER_ASSETS", "")
	if set, err := programs.Find(); !errors.Is(err, programs.ErrMissing) || set.APIServer != nil {
		t.Fatalf("an empty machine has %v, error %v", set, err)
	}
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	server, etcd := touch(t, assets, "kube-apiserver"), touch(t, assets, "etcd")
	set, err := programs.Find()
	if !errors.Is(err, programs.ErrMissing) {
		t.Errorf("kube-proxy is missing, error %v", err)
	}
	if diff := cmp.Diff(programs.Set{APIServer: []string{server}, Etcd: []string{etcd}}, set); diff != "" {
		t.Error(diff)
	}
	// Nothing in the cache is taken from another key's folder.
	touch(t, filepath.Join(cache, "daymark", "cluster-0000000000000000"), "cluster")
	if _, err := programs.Find(); !errors.Is(err, programs.ErrMissing) {
		t.Errorf("a build of other sources was taken, error %v", err)
	}
}

func touch(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}
