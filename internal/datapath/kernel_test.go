package datapath_test

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"daymark/internal/datapath"
	"daymark/internal/vip"
	"daymark/test/netns"
	"daymark/test/require"
)

// link makes a link that is up, until the test ends.
func link(t testing.TB, name string) string {
	t.Helper()
	netns.IP(t, "link add "+name+" type veth peer name p"+name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	netns.IP(t, "link set p"+name+" up")
	netns.IP(t, "link set "+name+" up")
	return name
}

// running waits until the kernel tells of a link that it runs, which it does a moment after it is up: an address on one that doesn't isn't
// waited for.
func running(t *testing.T, link string) {
	t.Helper()
	for start := time.Now(); ; <-time.After(time.Millisecond) {
		if ifi, err := net.InterfaceByName(link); err == nil && ifi.Flags&net.FlagRunning != 0 {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal(link, "does not run")
		}
	}
}

func addr(prefix, link string) vip.Address {
	return vip.Address{Prefix: netip.MustParsePrefix(prefix), Link: link}
}

func until(a vip.Address, left time.Duration) vip.Address {
	a.Until = time.Now().Add(left)
	return a
}

func open(t testing.TB, cfg datapath.Config) *datapath.Kernel {
	t.Helper()
	k, err := datapath.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func set(t *testing.T, k *datapath.Kernel, want ...vip.Address) {
	t.Helper()
	if err := k.Set(t.Context(), want); err != nil {
		t.Error(err)
	}
}

// on returns what a link has, as text, the kernel's own link-local address left out.
func on(t *testing.T, link string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(netns.IP(t, "-o address show dev "+link)) {
		f := strings.Fields(line)
		if !strings.HasPrefix(f[3], "fe80:") {
			out = append(out, f[3])
		}
	}
	slices.Sort(out)
	return out
}

func expect(t *testing.T, link string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, on(t, link)); d != "" {
		t.Errorf("on %s (-want +got):\n%s", link, d)
	}
}

// soon waits until a link has just what is wanted.
func soon(t *testing.T, link string, want ...string) {
	t.Helper()
	for start := time.Now(); !slices.Equal(want, on(t, link)); {
		if time.Since(start) > 10*time.Second {
			expect(t, link, want...)
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestSetAddsBeforeItRemoves(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	recorded := watch(t)
	set(t, k, addr("198.18.0.2/32", l), addr("fd00::2/128", l))
	expect(t, l, "198.18.0.2/32", "fd00::2/128")
	// The kernel tells of an IPv6 address a moment after it is there.
	want := []string{"+198.18.0.2/32", "-198.18.0.1/32", "-fd00::1/128"}
	if d := cmp.Diff(want, slices.DeleteFunc(recorded(), func(s string) bool { return s == "+fd00::2/128" })); d != "" {
		t.Error(d)
	}
}

// TestWhatIsSetAnswers adds an IPv6 address again and again: the kernel answers before its work queue has added the route to it, and what
// came in between would be lost. Set says where the route is late, and goes on.
func TestWhatIsSetAnswers(t *testing.T) {
	l := link(t, "v0")
	running(t, l)
	warned := make(require.Lines, 300)
	k := open(t, datapath.Config{Log: slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	ip := net.ParseIP("2001:db8::1")
	for range 300 {
		before, began := len(warned), time.Now()
		set(t, k, addr("2001:db8::1/128", l))
		took := time.Since(began)
		routes, err := netlink.RouteGet(ip)
		switch late := len(warned) > before; {
		case late && took < datapath.UsableAfter:
			t.Fatalf("it went on without a route after %v", took)
		case !late && (err != nil || routes[0].Type != unix.RTN_LOCAL):
			t.Fatalf("there is no route to it yet: %v, %v", routes, err)
		}
		set(t, k)
	}
	// Where tests share a machine, its kernel may not get to the work queue for so long, now and then. A tenth is more than now and then; a wait
	// that doesn't see the route would be too long every time.
	if n := len(warned); n > 30 {
		t.Errorf("it took longer than is waited %d times of 300", n)
	}
}

func TestSetIsIdempotent(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	want := []vip.Address{addr("198.18.0.1/32", l), until(addr("198.18.0.2/24", l), 10*time.Second), until(addr("fd00::1/128", l), 10*time.Second)}
	set(t, k, want...)
	soon(t, l, "198.18.0.1/32", "198.18.0.2/24", "fd00::1/128")
	recorded := watch(t)
	for range 3 {
		set(t, k, want...)
	}
	// The kernel may tell late of the IPv6 address that the first Set made.
	if got := recorded(); len(got) > 0 && !slices.Equal(got, []string{"+fd00::1/128"}) {
		t.Error("changed again:", got)
	}
}

func TestAddressIsNoSourceAndMakesNoRoute(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/24", l), addr("fd00::1/64", l))
	for line := range strings.Lines(netns.IP(t, "-d -o address show dev "+l)) {
		if strings.Contains(line, "fe80:") {
			continue
		}
		for _, want := range []string{"deprecated", "noprefixroute", "forever"} {
			if !strings.Contains(line, want) {
				t.Errorf("not %s: %s", want, line)
			}
		}
		if strings.Contains(line, "inet6") && (!strings.Contains(line, "nodad") || strings.Contains(line, "tentative")) {
			t.Error("not at once usable:", line)
		}
	}
	if routes := netns.IP(t, "route show dev "+l) + netns.IP(t, "-6 route show fd00::/64 dev "+l); routes != "" {
		t.Error("routes:", routes)
	}
}

func TestErrorsOfSomeLeaveTheOthers(t *testing.T) {
	l, down := link(t, "a0"), link(t, "a1")
	netns.IP(t, "link set a1 down")
	netns.IP(t, "address add 198.18.0.9/24 dev a0")
	k := open(t, datapath.Config{})
	err := k.Set(t.Context(), []vip.Address{
		addr("198.18.0.1/32", l), addr("198.18.0.2/32", "missing"), addr("fd00::1/128", down),
		addr("198.18.0.9/32", l), until(addr("198.18.0.3/32", l), 900*time.Millisecond), addr("198.18.0.4/32", down),
	})
	for _, want := range []error{datapath.ErrNoLink, datapath.ErrLinkDown, datapath.ErrForeign, datapath.ErrExpired} {
		if !errors.Is(err, want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	for key, want := range map[vip.Key]error{
		addr("198.18.0.2/32", "missing").Key(): datapath.ErrNoLink, addr("198.18.0.9/32", l).Key(): datapath.ErrForeign,
	} {
		var one *vip.AddressError
		if part := vip.ErrorFor(err, key); !errors.As(part, &one) || one.Key != key || !errors.Is(part, want) {
			t.Errorf("of %v: %v, want %v", key, part, want)
		}
	}
	expect(t, l, "198.18.0.1/32", "198.18.0.9/24")
	expect(t, down, "198.18.0.4/32")

	require.Running(t, k.Run)
	netns.IP(t, "link set a1 up")
	soon(t, down, "198.18.0.4/32", "fd00::1/128")
	soon(t, link(t, "missing"), "198.18.0.2/32")
}

func TestPrefixLengthChangesWithoutAGap(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/32", l))
	recorded := watch(t)
	set(t, k, addr("198.18.0.1/24", l))
	if d := cmp.Diff([]string{"+198.18.0.1/24", "-198.18.0.1/32"}, recorded()); d != "" {
		t.Error(d)
	}
}

func TestWhatIsTakenAwayIsPutBack(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	require.Running(t, k.Run)
	set(t, k, addr("198.18.0.1/32", l), until(addr("fd00::1/128", l), 20*time.Second), addr("fd00::2/128", l))
	netns.IP(t, "address del 198.18.0.1/32 dev a0")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
	netns.IP(t, "address flush dev a0 scope global")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
	netns.IP(t, "link set a0 down") // the kernel drops IPv6 addresses
	soon(t, l, "198.18.0.1/32")
	netns.IP(t, "link set a0 up")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
	netns.IP(t, "link del a0")
	link(t, "a0")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
}

// TestWhatTheKernelNeverHeardOfIsAskedForAgain breaks the socket on which changes are asked for.
func TestWhatTheKernelNeverHeardOfIsAskedForAgain(t *testing.T) {
	l := link(t, "a0")
	warned := make(require.Lines, 100)
	k := open(t, datapath.Config{Log: slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	one, two := addr("198.18.0.1/32", l), addr("198.18.0.2/32", l)
	set(t, k, one)
	kernel := k.Through(-1)
	if err := k.Set(t.Context(), []vip.Address{one, two}); err == nil {
		t.Error("no error")
	}
	if d := cmp.Diff([]vip.Address{one}, k.Held(), cmp.Comparer(vip.Address.Equal)); d != "" {
		t.Error(d)
	}
	k.Through(kernel)
	set(t, k, one, two)
	expect(t, l, "198.18.0.1/32", "198.18.0.2/32")

	kernel = k.Through(-1)
	require.Running(t, k.Run)
	netns.IP(t, "address del 198.18.0.1/32 dev a0")
	<-warned // that it could not be put back
	k.Through(kernel)
	soon(t, l, "198.18.0.1/32", "198.18.0.2/32")
}

// TestLostNotificationsAreReadAnew floods the socket of an agent that doesn't read, as a frozen one.
func TestLostNotificationsAreReadAnew(t *testing.T) {
	l := link(t, "a0")
	metrics := prometheus.NewRegistry()
	k := open(t, datapath.Config{Metrics: metrics})
	set(t, k, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l))
	flood := func(last string) {
		t.Helper()
		ip := exec.Command("ip", "-batch", "-")
		ip.Stdin = strings.NewReader(strings.Repeat("address add 198.19.0.1/32 dev a0\naddress del 198.19.0.1/32 dev a0\n", 12000) + last)
		if out, err := ip.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	flood("address del 198.18.0.1/32 dev a0\n")
	expect(t, l, "198.18.0.2/32")
	set(t, k, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l))
	expect(t, l, "198.18.0.1/32", "198.18.0.2/32")
	// After a flood that changed nothing of ours the kernel tells again of what comes next.
	flood("")
	set(t, k, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l))
	netns.IP(t, "address del 198.18.0.1/32 dev a0")
	set(t, k, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l))
	expect(t, l, "198.18.0.1/32", "198.18.0.2/32")
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if v := f.GetMetric()[0]; f.GetName() == "daymark_datapath_overruns_total" && v.GetCounter().GetValue() != 2 {
			t.Errorf("%v overruns of two: the floods were too small to show anything", v.GetCounter().GetValue())
		}
	}
}

func TestWhatTheKernelAnsweredIsNotToldAgain(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	set(t, k, until(addr("198.18.0.1/32", l), 10*time.Second))
	told := func(what string, want int, set ...vip.Address) {
		if n, err := k.ToldOf(set...); err != nil || n != want {
			t.Errorf("%s: told of %d changes, want %d, %v", what, n, want, err)
		}
	}
	told("renewed and added", 0, until(addr("198.18.0.1/32", l), 12*time.Second), until(addr("198.18.0.2/32", l), 12*time.Second))
	other(t, l, "198.18.0.9/32", 0)
	told("somebody else's added, and one removed", 2)
}

func TestLoopback(t *testing.T) {
	netns.IP(t, "link set lo up")
	for name, test := range map[string]struct {
		scope datapath.Scope
		want  string
	}{"host": {datapath.ScopeHost, "scope host"}, "global": {datapath.ScopeGlobal, "scope global"}} {
		t.Run(name, func(t *testing.T) {
			k := open(t, datapath.Config{LoopbackScope: test.scope})
			set(t, k, addr("198.18.0.1/32", "lo"), addr("fd00::1/128", "lo"))
			out := netns.IP(t, "-o address show dev lo to 198.18.0.1")
			if !strings.Contains(out, test.want) || !strings.Contains(netns.IP(t, "-o address show dev lo"), "fd00::1/128") {
				t.Error(out)
			}
			set(t, k)
		})
	}
}
