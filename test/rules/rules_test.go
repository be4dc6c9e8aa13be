// Package rules checks what the repository promises of itself: which room may import which, where the process's
// environment is read, that every package says what it is for, that a command runs each of the long tests. It checks no behaviour.
package rules_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "daymark"

// floors has every room. Imports go downwards only; rooms on one floor never import each other. ARCHITECTURE.md
// explains them.
func floors() map[string]int {
	return map[string]int{
		"annotations": 1, "internal/typo": 1, "internal/vip": 1,
		"ipam": 2, "internal/election": 2, "internal/datapath": 2, "internal/l2": 2, "internal/bgp": 2, "internal/route": 2,
		"internal/wireguard": 2, "internal/balance": 2, "internal/resolve": 2, "internal/upnp": 2,
		"provider": 3, "provider/equinix": 3, "internal/agent": 3, "manifests": 3,
		"cmd/ccm": 4, "cmd/vip": 4, "test": 4,
	}
}

// outside has the libraries that only some rooms may know.
func outside() map[string][]string {
	return map[string][]string{
		"k8s.io/":                        {"cmd/ccm", "cmd/vip", "provider", "provider/equinix", "internal/agent", "manifests", "internal/election", "test"},
		"github.com/vishvananda/netlink": {"internal/datapath", "internal/route", "internal/wireguard", "internal/balance", "test"},
		"github.com/osrg/gobgp":          {"internal/bgp", "test"},
	}
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// path is the import path below the module.
func (p pkg) path() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

// room returns the room of a path below the module, the longest that contains it, or "".
func room(path string) string {
	best := ""
	for name := range floors() {
		if (path == name || strings.HasPrefix(path, name+"/")) && len(name) > len(best) {
			best = name
		}
	}
	return best
}

// breaches returns what p's imports break.
func breaches(p pkg) []string {
	var out []string
	from := room(p.path())
	if from == "" {
		return []string{p.path() + " has no floor: give its room one in test/rules"}
	}
	check := func(imported string, inTest bool) {
		if inner, ok := strings.CutPrefix(imported, module+"/"); ok {
			to := room(inner)
			// What tests stand on is in test, and no program imports it.
			if to != from && floors()[to] >= floors()[from] && (!inTest || to != "test") {
				out = append(out, fmt.Sprintf("%s (floor %d) imports %s (floor %d)", p.path(), floors()[from], inner, floors()[to]))
			}
			return
		}
		for library, rooms := range outside() {
			if strings.HasPrefix(imported, library) && !slices.Contains(rooms, from) {
				out = append(out, fmt.Sprintf("%s imports %s, which only %s may", p.path(), imported, strings.Join(rooms, ", ")))
			}
		}
	}
	for _, imported := range p.Imports {
		check(imported, false)
	}
	for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
		check(imported, true)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, breach := range breaches(p) {
			t.Error(breach)
		}
	}
}

// TestBreachesAreFound shows that the rules bite.
func TestBreachesAreFound(t *testing.T) {
	for _, bad := range []pkg{
		{ImportPath: "daymark/annotations", Imports: []string{"daymark/internal/vip"}},
		{ImportPath: "daymark/internal/vip", Imports: []string{"daymark/internal/l2"}},
		{ImportPath: "daymark/internal/l2", Imports: []string{"daymark/internal/datapath"}},
		{ImportPath: "daymark/provider/equinix", Imports: []string{"daymark/provider"}},
		{ImportPath: "daymark/manifests", Imports: []string{"daymark/cmd/vip"}},
		{ImportPath: "daymark/internal/agent", Imports: []string{"daymark/test/netns"}},
		{ImportPath: "daymark/internal/l2", TestImports: []string{"k8s.io/api/core/v1"}},
		{ImportPath: "daymark/internal/agent", Imports: []string{"github.com/vishvananda/netlink/nl"}},
		{ImportPath: "daymark/cmd/vip", Imports: []string{"github.com/osrg/gobgp/v4/api"}},
		{ImportPath: "daymark/newroom"},
	} {
		if len(breaches(bad)) != 1 {
			t.Errorf("%+v: %q", bad, breaches(bad))
		}
	}
	for _, good := range []pkg{
		{ImportPath: "daymark/cmd/vip", Imports: []string{"daymark/internal/agent", "k8s.io/client-go/rest", "daymark/cmd/vip/x"}},
		{ImportPath: "daymark/internal/l2", XTestImports: []string{"daymark/test/netns"}},
	} {
		if b := breaches(good); len(b) != 0 {
			t.Errorf("%+v: %q", good, b)
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	for _, p := range packages(t) {
		var documented []string
		for _, name := range p.GoFiles {
			file := parse(t, filepath.Join(p.Dir, name), parser.PackageClauseOnly|parser.ParseComments)
			if file.Doc != nil {
				documented = append(documented, name)
			}
		}
		if len(p.GoFiles) > 0 && len(documented) != 1 {
			t.Errorf("%s: one file has the package comment, not %q", p.path(), documented)
		}
	}
}

// TestCalls finds calls that a room may not make.
func TestCalls(t *testing.T) {
	process := []string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.Setenv", "os.Exit", "syscall.Exit", "syscall.Kill", "log.Fatal", "log.Fatalf"}
	for _, p := range packages(t) {
		in := room(p.path())
		for _, name := range p.GoFiles {
			for _, call := range calls(parse(t, filepath.Join(p.Dir, name), parser.SkipObjectResolution)) {
				where := filepath.Join(p.path(), name)
				switch {
				case call == "time.Sleep":
					t.Errorf("%s sleeps: wait for a timer and the context", where)
				case call == "init":
					t.Errorf("%s has an init function", where)
				case slices.Contains(process, call) && !strings.HasPrefix(in, "cmd/") && in != "test":
					t.Errorf("%s calls %s, which only cmd may", where, call)
				}
			}
		}
	}
}

func TestCallsAreFound(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
		import ("os"; clock "time")
		func init() { clock.Sleep(1); _ = os.Getenv }`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := calls(file); !slices.Equal(got, []string{"init", "time.Sleep", "os.Getenv"}) {
		t.Errorf("got %q", got)
	}
}

// calls returns the functions of other packages that file names, as package.Function, and "init" for each init function.
func calls(file *ast.File) []string {
	imported := map[string]string{}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := filepath.Base(path)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = path
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				out = append(out, "init")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && imported[x.Name] != "" {
				out = append(out, imported[x.Name]+"."+n.Sel.Name)
			}
		}
		return true
	})
	return out
}

func parse(t *testing.T, path string, mode parser.Mode) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNoReplaceInGoMod(t *testing.T) {
	text, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct{ Replace []any }
	if err := json.Unmarshal(text, &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) > 0 {
		t.Errorf("go.mod replaces %v: the module couldn't be installed with go install", mod.Replace)
	}
}

// root returns the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func packages(t *testing.T) []pkg {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	list.Dir = root(t)
	list.Stderr = os.Stderr
	text, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var out []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(text))); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	if len(out) < 5 {
		t.Fatalf("only %d packages were found", len(out))
	}
	return out
}
