package netns_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

const victimKey = "DAYMARK_BED_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victimKey) == "1" {
		os.Exit(netns.Run(victim))
	}
	os.Exit(netns.RunTests(m))
}

// victim builds a lab with a running program and waits to be killed.
func victim() int {
	lab, err := netns.New(os.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	lan, err := lab.AddLAN("lan")
	if err != nil {
		panic(err)
	}
	host, err := lab.AddHost("a", lan)
	if err != nil {
		panic(err)
	}
	if err := host.Command("sleep", marker).Start(); err != nil {
		panic(err)
	}
	fmt.Println("up")
	select {}
}

// marker is an argument that no other process has.
const marker = "86397"

// TestNothingIsLeftAfterKill kills the outermost process of a bed with SIGKILL.
func TestNothingIsLeftAfterKill(t *testing.T) {
	self := require.Value(os.Executable())(t)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimKey+"=1", "DAYMARK_BED=")
	cmd.Stderr = t.Output()
	stdout := require.Value(cmd.StdoutPipe())(t)
	require.NoError(t, cmd.Start())
	line := require.Value(bufio.NewReader(stdout).ReadString('\n'))(t)
	if line != "up\n" {
		t.Fatalf("victim said %q", line)
	}
	if got := processes(t); got != 4 { // outer, pid 1, inner, sleep
		t.Fatalf("the bed has %d processes, want 4", got)
	}
	before := require.Value(filepath.Glob(filepath.Join(os.TempDir(), "*")))(t)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	eventually(t, 10*time.Second, func() bool { return processes(t) == 0 })
	mounts := require.Value(os.ReadFile("/proc/self/mounts"))(t)
	if n := bytes.Count(mounts, []byte("bed /run")); n != 1 {
		t.Errorf("%d mounts of a bed are left here, want only this test's own", n)
	}
	after := require.Value(filepath.Glob(filepath.Join(os.TempDir(), "*")))(t)
	if len(before) != len(after) {
		t.Errorf("files changed from %q to %q", before, after)
	}
}

// processes counts the processes of the victim: those with its environment or the
// marker among their arguments.
func processes(t *testing.T) int {
	t.Helper()
	count := 0
	for _, dir := range require.Value(filepath.Glob("/proc/[0-9]*"))(t) {
		env, _ := os.ReadFile(filepath.Join(dir, "environ")) // gone meanwhile: no match
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if bytes.Contains(env, []byte(victimKey+"=1")) || strings.Contains(string(args), marker) {
			count++
		}
	}
	return count
}

func eventually(t *testing.T, within time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %s", within)
		}
	}
}
