// Package programs finds the Kubernetes control plane that beds run, and builds it
// from the module test/cluster where the machine has none.
//
// What is built lies below the user's cache folder, by a key of everything that
// went into it, so that every checkout and every run shares it. kube-apiserver and
// etcd are taken from $KUBEBUILDER_ASSETS where that names a folder with them.
//
// Tests only Find: a build takes minutes, needs the network, and belongs where its
// progress is seen. The package depends on the standard library alone, so that its
// first line of progress comes at once.
package programs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// Set is a control plane's programs, each as the first words of its command line.
type Set struct {
	APIServer []string
	Etcd      []string
	Proxy     []string
}

// ErrMissing says that programs have to be built.
var ErrMissing = errors.New("the control plane is not built")

const assetsKey = "KUBEBUILDER_ASSETS"

// Find returns the programs that are there. Programs that are not are nil, and the
// error wraps ErrMissing.
func Find() (Set, error) {
	p, err := locate()
	if err != nil {
		return Set{}, err
	}
	set := p.find()
	var missing []string
	for name, program := range map[string][]string{"kube-apiserver": set.APIServer, "etcd": set.Etcd, "kube-proxy": set.Proxy} {
		if program == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return set, fmt.Errorf("%w: no %q in %s: `go run ./test/programs/build` builds them", ErrMissing, missing, p.cache)
	}
	return set, nil
}

// place is where programs come from and go to.
type place struct {
	source string // test/cluster of this checkout
	cache  string // the folder of this key
	assets string // $KUBEBUILDER_ASSETS, or empty
}

// The two commands of the module, as files in the cache folder.
const (
	allInOne  = "cluster"
	proxyOnly = "kube-proxy"
)

func locate() (place, error) {
	source, err := sourceFolder()
	if err != nil {
		return place{}, err
	}
	key, err := keyOf(source)
	if err != nil {
		return place{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return place{}, fmt.Errorf("finding the cache folder: %w", err)
	}
	return place{source: source, cache: filepath.Join(cache, "daymark", "cluster-"+key), assets: os.Getenv(assetsKey)}, nil
}

// sourceFolder is test/cluster of the checkout that the working folder lies in.
func sourceFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, "test", "cluster")
		if isFile(filepath.Join(source, "go.mod")) {
			return source, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no test/cluster/go.mod here or above: run this inside the repository")
		}
		dir = up
	}
}

// keyOf sums up all that determines the binary: the module's files, the compiler and
// the machine.
func keyOf(source string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum", "main.go", "kube-proxy/main.go"} {
		f, err := os.Open(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, name)
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:16], nil
}

func (p place) find() Set {
	return Set{
		APIServer: p.program("kube-apiserver", allInOne),
		Etcd:      p.program("etcd", allInOne),
		Proxy:     p.program("kube-proxy", allInOne, proxyOnly),
	}
}

// program looks for one in the assets and then in the cache, as part of any of the
// given files.
func (p place) program(name string, files ...string) []string {
	if asset := filepath.Join(p.assets, name); p.assets != "" && isFile(asset) {
		return []string{asset}
	}
	for _, f := range files {
		if file := filepath.Join(p.cache, f); isFile(file) {
			return []string{file, name}
		}
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
