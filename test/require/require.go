// Package require says what a test cannot do without. A test without it skips with
// the reason, or fails when DAYMARK_TEST_REQUIRE is 1, as it is in CI: there a skip
// would hide that nothing was tested.
//
// It also has the few lines that many tests would repeat. It
// installs nothing.
package require

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// Key is the environment variable that turns a skip into a failure.
const Key = "DAYMARK_TEST_REQUIRE"

// Everything says whether a missing requirement is a failure.
func Everything() bool { return os.Getenv(Key) == "1" }

// Missing ends the test for want of something: skipped, or failed when everything
// is required.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if Everything() {
		t.Fatalf("%s (and %s=1)", reason, Key)
	}
	t.Skip(reason)
}

// Tool ends the test unless every program is in PATH.
func Tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, name+" is not installed: `make test-deps` installs it")
		}
	}
}

// NoError ends the test when there is an error.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Value returns a function that ends the test when err is not nil and gives the
// value otherwise: require.Value(lab.AddHost("a", lan))(t).
func Value[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		NoError(t, err)
		return v
	}
}

// Asked skips a long test unless the variable is 1, as the make target sets it. That is no want of anything.
func Asked(t testing.TB, variable, target string) {
	t.Helper()
	if os.Getenv(variable) != "1" {
		t.Skip("`" + target + "` runs it")
	}
}

// Running runs f until the test ends, and wants no error of it then.
func Running(t testing.TB, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running until the end of the test: %v", err)
		}
	})
}

// Lines gets each line that is written to it, as a log does, as long as there is room: it never blocks.
type Lines chan string

// Write is that of [io.Writer].
func (l Lines) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default:
	}
	return len(line), nil
}
