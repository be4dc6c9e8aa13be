package datapath_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/datapath"
	"daymark/internal/vip"
	"daymark/test/netns"
	"daymark/test/require"
)

// relay stands between k and the kernel: pass is called before a request goes on, and says whether its answer comes back whole.
func relay(t *testing.T, k *datapath.Kernel, pass func() (whole bool)) {
	t.Helper()
	pair := require.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0))(t)
	require.NoError(t, unix.SetNonblock(pair[0], true))
	kernel := k.Through(pair[0])
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, err := unix.Read(pair[1], b)
			if n <= 0 || err != nil {
				return
			}
			whole := pass()
			// The kernel has answered when it has taken a request.
			for _, err = unix.Write(kernel, b[:n]); err == nil; _, err = unix.Write(pair[1], b[:n]) {
				if n, err = unix.Read(kernel, b); err != nil {
					break
				}
				if !whole {
					n = 1
				}
			}
		}
	}()
	t.Cleanup(func() {
		k.Through(kernel)
		_ = unix.Close(pair[0])
		<-done
		_ = unix.Close(pair[1])
	})
}

// TestAStopBeforeTheKernelIsAskedIsNoLongerRight stops between looking at the clock and asking the kernel, which counts from when it is asked.
func TestAStopBeforeTheKernelIsAskedIsNoLongerRight(t *testing.T) {
	l := link(t, "a0")
	for left, want := range map[time.Duration]error{1300 * time.Millisecond: datapath.ErrExpired, 2950 * time.Millisecond: nil} {
		k := open(t, datapath.Config{})
		first := true
		relay(t, k, func() bool {
			if first {
				<-time.After(1500 * time.Millisecond)
			}
			first = false
			return true
		})
		addrs := []vip.Address{until(addr("198.18.0.1/32", l), left), until(addr("fd00::1/128", l), left)}
		if err := k.Set(t.Context(), addrs); want != nil && !errors.Is(err, want) {
			t.Errorf("with %v left: %v", left, err)
		}
		// The longer one was asked for as 2 s, and is over after 1.45 s more.
		if out := netns.IP(t, "address show dev a0 scope global"); strings.Contains(out, "valid_lft 2sec") || want != nil && out != "" {
			t.Errorf("with %v left when it was stopped for 1.5 s:\n%s", left, out)
		}
		set(t, k)
	}
}

func TestAStopBeforeAnAddressIsPutBack(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	a := until(addr("198.18.0.1/32", l), 3500*time.Millisecond)
	set(t, k, a)
	held := make(chan []vip.Address, 1)
	var requests atomic.Int32
	relay(t, k, func() bool {
		if requests.Add(1) == 1 {
			<-time.After(time.Until(a.Until))
			go func() { held <- k.Held() }() // what it has when it lets others look
			<-time.After(100 * time.Millisecond)
		}
		return true
	})
	require.Running(t, k.Run)
	netns.IP(t, "address del 198.18.0.1/32 dev a0")
	select {
	case got := <-held:
		if len(got) > 0 {
			t.Errorf("put back when the right had run out, and left there: %v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not put back in time to show anything")
	}
	expect(t, l)
}

// TestARepairThatFailsIsTriedAgain breaks the socket for so long that what is true can't be read either.
func TestARepairThatFailsIsTriedAgain(t *testing.T) {
	l := link(t, "a0")
	for _, dev := range []string{"a0", "pa0"} { // no link-local addresses, whose news would have it look again
		netns.IP(t, "link set "+dev+" down addrgenmode none")
		netns.IP(t, "link set "+dev+" up")
	}
	warned := make(require.Lines, 100)
	k := open(t, datapath.Config{Log: slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	set(t, k, addr("198.18.0.1/32", l))
	require.Running(t, k.Run)
	kernel := k.Through(-1)
	netns.IP(t, "address del 198.18.0.1/32 dev a0")
	for _, want := range []string{"addresses not restored", "reading links and addresses failed"} {
		select {
		case line := <-warned:
			if !strings.Contains(line, want) {
				t.Errorf("warned %q, want %q", line, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no warning %q", want)
		}
	}
	k.Through(kernel)
	soon(t, l, "198.18.0.1/32")
}

// TestANotificationThatCannotBeReadEndsNothing: all is read anew instead, here with what is told no more.
func TestANotificationThatCannotBeReadEndsNothing(t *testing.T) {
	l := link(t, "a0")
	warned := make(require.Lines, 100)
	k := open(t, datapath.Config{Log: slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	set(t, k, addr("198.18.0.1/32", l))
	pair := require.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))(t)
	t.Cleanup(func() { _ = unix.Close(pair[1]) }) // after what runs has ended
	k.ToldBy(pair[0])
	require.Running(t, k.Run)
	for range 2 {
		netns.IP(t, "address del 198.18.0.1/32 dev a0")
		require.Value(unix.Write(pair[1], []byte("no message")))(t)
		soon(t, l, "198.18.0.1/32")
		<-time.After(1100 * time.Millisecond) // what is taken away again at once is put back a second later
	}
	told := ""
	for len(warned) > 0 {
		told += <-warned
	}
	if n := strings.Count(told, "notifications can't be read"); n != 2 {
		t.Errorf("warned %d times of two:\n%s", n, told)
	}
}

func TestAnAnswerThatIsLostIsReadAnew(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	whole := false
	relay(t, k, func() bool {
		defer func() { whole = true }()
		return whole
	})
	if err := k.Set(t.Context(), []vip.Address{addr("198.18.0.1/32", l)}); err == nil {
		t.Error("no error of an answer that is lost")
	}
	if held := k.Held(); len(held) != 1 {
		t.Errorf("holds %v, and one is there", held)
	}
	set(t, k)
	expect(t, l)
}

// TestWhatOthersChangeMeanwhileHidesNothing reads very many addresses while others come and go: the kernel reads in parts, and goes on at
// a number in its list.
func TestWhatOthersChangeMeanwhileHidesNothing(t *testing.T) {
	l := link(t, "a0")
	batch := func(lines string) *exec.Cmd {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(lines)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	const n = 1000
	var script strings.Builder
	for i := range n {
		fmt.Fprintf(&script, "address add fd00::%x/64 dev a0 nodad noprefixroute\n", i+1)
	}
	if out, err := batch(script.String()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	storm := batch(strings.Repeat("address add fd00:1::1/128 dev a0 nodad\naddress del fd00:1::1/128 dev a0\n", 100_000))
	require.NoError(t, storm.Start())
	defer func() {
		_ = storm.Process.Kill()
		_ = storm.Wait()
	}()
	for round := range 30 {
		k := open(t, datapath.Config{})
		for _, x := range k.Links() {
			own := 0
			for _, p := range x.Own {
				if p.Bits() == 64 && p.Addr().AsSlice()[0] == 0xfd {
					own++
				}
			}
			if x.Name == l && own != n {
				t.Fatalf("round %d: %d of %d addresses are seen", round, own, n)
			}
		}
		require.NoError(t, k.Close())
	}
}
