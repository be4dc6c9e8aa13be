package wrongclock_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"daymark/test/require"
	"daymark/test/wrongclock"
)

const tellKey = "DAYMARK_TEST_TELL_TIME"

// TestMain makes this executable the supervisor, or the program that tells the time at each line that it reads.
func TestMain(m *testing.M) {
	if code, asked := wrongclock.Main(); asked {
		os.Exit(code)
	}
	if os.Getenv(tellKey) != "" {
		began := time.Now()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(time.Now().UnixMilli(), time.Since(began).Milliseconds())
		}
		os.Exit(3)
	}
	os.Exit(m.Run())
}

func TestClockIsOffAndSteps(t *testing.T) {
	if err := wrongclock.Possible(); err != nil {
		require.Missing(t, err.Error())
	}
	self := require.Value(os.Executable())(t)
	file := filepath.Join(t.TempDir(), "offset")
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), append(wrongclock.Env(self, file), tellKey+"=1")...)
	cmd.Stderr = os.Stderr
	in, out := require.Value(cmd.StdinPipe())(t), require.Value(cmd.StdoutPipe())(t)
	require.NoError(t, cmd.Start())
	for _, off := range []time.Duration{0, time.Hour, -time.Hour} {
		require.NoError(t, os.WriteFile(file, []byte(off.String()), 0o644))
		fmt.Fprintln(in)
		var wall, monotonic int64
		_ = require.Value(fmt.Fscan(out, &wall, &monotonic))(t)
		if wrong := time.Until(time.UnixMilli(wall)); (wrong - off).Abs() > 10*time.Second {
			t.Errorf("the clock is off by %v, want %v", wrong, off)
		}
		if monotonic < 0 || monotonic > 60_000 {
			t.Errorf("%d ms have passed on the monotonic clock", monotonic)
		}
	}
	require.NoError(t, in.Close())
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("exit code %d, want the program's own", cmd.ProcessState.ExitCode())
	}
}
