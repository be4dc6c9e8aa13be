package l2_test

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"daymark/internal/l2"
	"daymark/internal/vip"
	"daymark/test/netns"
)

var announce = flag.String("announce", "", "announce an address on a link under a right until killed: link,address,seconds")

// beAnnouncer is what the process of TestNothingAfterAStop does: the shortest period, and a right that nobody renews.
func beAnnouncer() error {
	f := strings.Split(*announce, ",")
	seconds, err := strconv.ParseFloat(f[2], 64)
	if err != nil {
		return err
	}
	a, err := l2.New(l2.Config{Period: l2.LeastPeriod})
	if err != nil {
		return err
	}
	addr := netip.MustParseAddr(f[1])
	want := []vip.Address{{
		Prefix: netip.PrefixFrom(addr, addr.BitLen()), Link: f[0],
		Until: time.Now().Add(time.Duration(seconds * float64(time.Second))),
	}}
	return errors.Join(a.Set(context.Background(), want), a.Run(context.Background()))
}

// spawn starts a process that ends with the test.
func spawn(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.Stderr = os.Stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestNothingAfterAStop(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := real(t)
			far, addr := w.station(t, f.family), w.addr(f.addr, 0)
			cmd := spawn(t, exec.Command(os.Args[0], "-announce", w.near+","+f.addr+",2"))
			for len(far.about(addr)) == 0 {
				wait(10 * time.Millisecond)
			}
			started := time.Now()
			wait(400 * time.Millisecond)
			signal(t, cmd, syscall.SIGSTOP)
			wait(time.Until(started.Add(2100 * time.Millisecond)))
			before := len(far.about(addr))  // what was sent before the stop has been heard by now
			signal(t, cmd, syscall.SIGCONT) // with timers due long ago
			wait(time.Second)
			if after := len(far.about(addr)); before == 0 || after != before {
				t.Errorf("%d frames before it was stopped, %d after its right had run out", before, after-before)
			}
		})
	}
}

func signal(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestNeighboursFollow looks at the neighbour table of another host, whose entry for the address is quite new: such a one is
// the hardest to change.
func TestNeighboursFollow(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := real(t)
			other := exec.Command("sleep", "60")
			other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
			spawn(t, other)
			pid := strconv.Itoa(other.Process.Pid)
			netns.IP(t, "link set "+w.far+" netns "+pid)
			there := func(args string) string {
				t.Helper()
				out, err := exec.Command("nsenter", append([]string{"-t", pid, "-n", "ip"}, strings.Fields(args)...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("ip %s: %v\n%s", args, err, out)
				}
				return string(out)
			}
			there("link set " + w.far + " up")
			there("address add 198.18.0.1/24 dev " + w.far)
			there("address add fd00::1/64 nodad dev " + w.far)
			mac, err := net.InterfaceByName(w.near)
			if err != nil {
				t.Fatal(err)
			}
			a := w.start(t, l2.Config{})
			for round := range 3 {
				there("neigh replace " + f.addr + " lladdr " + stranger.String() + " nud reachable dev " + w.far)
				start := time.Now()
				set(t, a, w.addr(f.addr, 0))
				for !strings.Contains(there("neigh show "+f.addr+" dev "+w.far), mac.HardwareAddr.String()) {
					if time.Since(start) > w.slack {
						t.Fatalf("round %d: not within %v: %s", round, w.slack, there("neigh show dev "+w.far))
					}
				}
				t.Logf("round %d: after %v", round, time.Since(start))
				set(t, a)
			}
		})
	}
}
