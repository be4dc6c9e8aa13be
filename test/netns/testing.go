package netns

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"daymark/test/require"
)

// RunTests is Run for TestMain. Where namespaces are not allowed it says so and
// returns 0, or 1 when everything is required.
//
//	func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }
func RunTests(m *testing.M) int {
	if os.Getenv(stageKey) == "" {
		if err := Possible(); err != nil && !require.Everything() {
			fmt.Fprintln(os.Stderr, "SKIP: no namespaces:", err)
			return 0
		}
	}
	return Run(m.Run)
}

// Lan is a lab of one LAN for a test, with a host for each name. It is closed with
// the test; when that failed, the ends of the hosts' logs are in its output.
func Lan(t testing.TB, hosts ...string) (*Lab, *LAN) {
	t.Helper()
	lab := Test(t)
	lan := require.Value(lab.AddLAN("lan"))(t)
	for _, name := range hosts {
		require.Value(lab.AddHost(name, lan))(t)
	}
	return lab, lan
}

// Test is an empty lab for a test, closed with it.
func Test(t testing.TB) *Lab {
	t.Helper()
	lab := require.Value(New(t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil))))(t)
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
		if t.Failed() {
			t.Log(lab.Tail(40))
		}
	})
	return lab
}

// IP runs the program ip in the namespace that the test is in and returns what it printed.
func IP(t testing.TB, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// Tail is the last lines of every log, for the report of a failure.
func (l *Lab) Tail(lines int) string {
	files, err := filepath.Glob(filepath.Join(l.Logs(), "*.log"))
	if err != nil {
		return err.Error()
	}
	slices.Sort(files)
	var out strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			text = []byte(err.Error())
		}
		all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		fmt.Fprintf(&out, "--- %s\n%s\n", filepath.Base(f), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return out.String()
}
