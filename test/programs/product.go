package programs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Product is Daymark's own programs, built from the checkout that the working folder lies in.
type Product struct{ VIP, CCM string }

// BuildProduct builds vip and ccm into a folder, which it makes. It tells w that it does; only the first time on a machine takes
// longer than a few seconds.
func BuildProduct(ctx context.Context, dir string, w io.Writer) (Product, error) {
	source, err := sourceFolder()
	if err != nil {
		return Product{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Product{}, err
	}
	fmt.Fprintln(w, "building vip and ccm (about two minutes the first time)")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", dir+"/", "./cmd/vip", "./cmd/ccm")
	build.Dir = filepath.Dir(filepath.Dir(source))
	build.Stdout, build.Stderr = w, w
	if err := build.Run(); err != nil {
		return Product{}, fmt.Errorf("building vip and ccm: %w", err)
	}
	return Product{VIP: filepath.Join(dir, "vip"), CCM: filepath.Join(dir, "ccm")}, nil
}
