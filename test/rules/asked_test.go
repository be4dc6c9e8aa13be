package rules_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// long is a test that skips unless a command asks for it (require.Asked).
type long struct{ test, variable, command string }

// TestLongTestsAreRun holds every such test against what its command runs: one that the command doesn't select runs nowhere, and
// nobody sees it.
func TestLongTestsAreRun(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			for _, l := range longTests(parse(t, filepath.Join(p.Dir, name), parser.SkipObjectResolution)) {
				found++
				if why := l.unrun(p, string(makefile)); why != "" {
					t.Errorf("%s: %s", filepath.Join(p.path(), name), why)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no test asks for its command: this test looks for them in the wrong way")
	}
}

func TestLongTestsThatRunNowhereAreFound(t *testing.T) {
	const makefile = "faults: tools ## every fault\n\tDAYMARK_FAULTS=1 $(GO) test -count 1 -run 'Fault' ./test/...\n\nsoak:\n\tDAYMARK_SOAK=1 $(GO) test -run 'Soak' ./test/...\n"
	in := func(path string) pkg { return pkg{ImportPath: module + "/" + path} }
	for _, c := range []struct {
		name, source string
		in           pkg
		run          bool
	}{
		{"selected", `func TestFaultOne(t *testing.T) { require.Asked(t, "DAYMARK_FAULTS", "make faults") }`, in("test/agent"), true},
		{"in a part of it", `func TestFaults(t *testing.T) { t.Run("all", func(t *testing.T) { require.Asked(t, "DAYMARK_FAULTS", "make faults") }) }`, in("test/agent"), true},
		{"by another name", `func TestLabels(t *testing.T) { require.Asked(t, "DAYMARK_FAULTS", "make faults") }`, in("test/agent"), false},
		{"for another command", `func TestFaultOne(t *testing.T) { require.Asked(t, "DAYMARK_SOAK", "make soak") }`, in("test/agent"), false},
		{"by another variable", `func TestFaultOne(t *testing.T) { require.Asked(t, "DAYMARK_SOAK", "make faults") }`, in("test/agent"), false},
		{"no such command", `func TestFaultOne(t *testing.T) { require.Asked(t, "DAYMARK_FAULTS", "make fault") }`, in("test/agent"), false},
		{"in another room", `func TestFaultOne(t *testing.T) { require.Asked(t, "DAYMARK_FAULTS", "make faults") }`, in("internal/agent"), false},
		{"by a helper", `func ask(t *testing.T) { require.Asked(t, "DAYMARK_FAULTS", "make faults") }`, in("test/agent"), false},
		{"not said in so many words", `func TestFaultOne(t *testing.T) { require.Asked(t, key, "make faults") }`, in("test/agent"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+c.source, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			all := longTests(file)
			if len(all) != 1 {
				t.Fatalf("found %+v", all)
			}
			if why := all[0].unrun(c.in, makefile); (why == "") != c.run {
				t.Errorf("it says %q", why)
			}
		})
	}
}

// longTests returns the calls of require.Asked in a file, each with the function that makes it.
func longTests(file *ast.File) (out []long) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Asked" {
				out = append(out, long{f.Name.Name, literal(call.Args[1]), literal(call.Args[2])})
			}
			return true
		})
	}
	return out
}

// literal returns the text of a string constant that is written out, or "".
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		if text, err := strconv.Unquote(l.Value); err == nil {
			return text
		}
	}
	return ""
}

// unrun says why l, a test of p, is not run by its command, or nothing.
func (l long) unrun(p pkg, makefile string) string {
	target, ok := strings.CutPrefix(l.command, "make ")
	if !ok || l.variable == "" {
		return fmt.Sprintf("%s doesn't say in so many words by which variable and command it is run", l.test)
	}
	_, recipe, ok := strings.Cut("\n"+makefile, "\n"+target+":")
	if !ok {
		return fmt.Sprintf("%s: there is no %q", l.test, l.command)
	}
	lines := strings.Split(recipe, "\n")[1:]
	for _, line := range lines {
		if !strings.HasPrefix(line, "\t") {
			break
		}
		pattern := regexp.MustCompile(`-run '([^']*)'`).FindStringSubmatch(line)
		if pattern == nil || !strings.Contains(line, l.variable+"=1 ") || !strings.Contains(line, " ./test/...") {
			continue
		}
		if room(p.path()) == "test" && strings.HasPrefix(l.test, "Test") && regexp.MustCompile(pattern[1]).MatchString(l.test) {
			return ""
		}
		return fmt.Sprintf("%s in %s is not among what %q runs (tests in test, -run '%s'), so nothing runs it", l.test, p.path(), l.command, pattern[1])
	}
	return fmt.Sprintf("%s: %q sets no %s for tests that it selects by -run", l.test, l.command, l.variable)
}
