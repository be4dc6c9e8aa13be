package pools_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

// expense is what was spent until a moment: processor time of the parts, and what the hypervisor took from this machine.
type expense struct {
	at                            time.Time
	api, etcd, ccm, client, stole time.Duration
}

// expense reads the clocks; ccm is nil where none runs.
func (b *bed) expense(t testing.TB, ccm *netns.Command) expense {
	t.Helper()
	var self syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &self))
	e := expense{
		at: time.Now(), api: cpuOf(t, b.APIServer), etcd: cpuOf(t, b.Etcd), client: time.Duration(self.Utime.Nano() + self.Stime.Nano()),
		stole: ticks(t, "/proc/stat", 8), // column steal of the first line, proc_stat(5)
	}
	if ccm != nil {
		e.ccm = cpuOf(t, ccm)
	}
	return e
}

// since returns the time that went by since an earlier expense, and what was spent in it.
func (e expense) since(before expense) string {
	spent := func(now, then time.Duration) string { return (now - then).Round(10 * time.Millisecond).String() }
	return fmt.Sprintf("%s (CPU: API server %s, etcd %s, ccm %s, client %s; stolen %s)", e.at.Sub(before.at).Round(time.Millisecond),
		spent(e.api, before.api), spent(e.etcd, before.etcd), spent(e.ccm, before.ccm), spent(e.client, before.client), spent(e.stole, before.stole))
}

// cpuOf returns the processor time of a command, in user and kernel mode.
func cpuOf(t testing.TB, c *netns.Command) time.Duration {
	t.Helper()
	file := fmt.Sprintf("/proc/%d/stat", c.Pid())
	return ticks(t, file, 13) + ticks(t, file, 14) // utime and stime, proc_pid_stat(5); no name here has a space
}

// ticks reads a field, counted from 0, of the first line of a file of /proc that counts in hundredths of a second.
func ticks(t testing.TB, file string, field int) time.Duration {
	t.Helper()
	text := require.Value(os.ReadFile(file))(t)
	line, _, _ := strings.Cut(string(text), "\n")
	return time.Duration(require.Value(strconv.ParseInt(strings.Fields(line)[field], 10, 64))(t)) * 10 * time.Millisecond
}
