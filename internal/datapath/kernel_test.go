package datapath_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"daymark/internal/datapath"
	"daymark/internal/vip"
)

// link makes a link that is up, until the test ends.
func link(t testing.TB, name string) string {
	t.Helper()
	ip(t, "link add "+name+" type veth peer name p"+name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	ip(t, "link set p"+name+" up")
	ip(t, "link set "+name+" up")
	return name
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

// run runs k until the test ends.
func run(t *testing.T, k *datapath.Kernel) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
}

// on returns what a link has, as text, the kernel's own link-local address left out.
func on(t *testing.T, link string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(ip(t, "-o address show dev "+link)) {
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
		if time.Since(start) > 5*time.Second {
			expect(t, link, want...)
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

// watch records every change of an address until it is asked for the record: "+" or "-" and the address.
func watch(t *testing.T) func() []string {
	t.Helper()
	cmd := exec.Command("ip", "-o", "monitor", "address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 10000)
	go func() {
		defer close(lines)
		b := make([]byte, 1<<16)
		for rest := ""; ; {
			n, err := out.Read(b)
			if err != nil {
				return
			}
			rest += string(b[:n])
			for line, after, ok := strings.Cut(rest, "\n"); ok; line, after, ok = strings.Cut(rest, "\n") {
				rest = after
				lines <- line
			}
		}
	}()
	// It listens when it reports an address made for that.
	ip(t, "address add 127.0.0.99/32 dev lo")
	for {
		ip(t, "address change 127.0.0.99/32 dev lo")
		select {
		case <-lines:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		break
	}
	return func() []string {
		ip(t, "address del 127.0.0.99/32 dev lo")
		var got []string
		for line := range lines {
			sign := "+"
			if strings.HasPrefix(line, "Deleted") {
				sign, line = "-", strings.TrimPrefix(line, "Deleted ")
			}
			f := strings.Fields(line)
			switch {
			case f[3] == "127.0.0.99/32" && sign == "-":
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				return got
			case f[3] != "127.0.0.99/32" && !strings.HasPrefix(f[3], "fe80:"):
				got = append(got, sign+f[3])
			}
		}
		return got
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

func TestSetIsIdempotent(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	want := []vip.Address{addr("198.18.0.1/32", l), until(addr("198.18.0.2/24", l), 10*time.Second), until(addr("fd00::1/128", l), 10*time.Second)}
	set(t, k, want...)
	recorded := watch(t)
	for range 3 {
		set(t, k, want...)
	}
	if got := recorded(); len(got) > 0 {
		t.Error("changed again:", got)
	}
}

func TestAddressIsNoSourceAndMakesNoRoute(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/24", l), addr("fd00::1/64", l))
	for line := range strings.Lines(ip(t, "-d -o address show dev "+l)) {
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
	if routes := ip(t, "route show dev "+l) + ip(t, "-6 route show fd00::/64 dev "+l); routes != "" {
		t.Error("routes:", routes)
	}
}

func TestErrorsOfSomeLeaveTheOthers(t *testing.T) {
	l, down := link(t, "a0"), link(t, "a1")
	ip(t, "link set a1 down")
	ip(t, "address add 198.18.0.9/24 dev a0")
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
	expect(t, l, "198.18.0.1/32", "198.18.0.9/24")
	expect(t, down, "198.18.0.4/32")

	run(t, k)
	ip(t, "link set a1 up")
	soon(t, down, "198.18.0.4/32", "fd00::1/128")
	soon(t, link(t, "missing"), "198.18.0.2/32")
}

func TestWhatIsNotOursIsLeft(t *testing.T) {
	l := link(t, "a0")
	ip(t, "address add 198.18.0.5/24 dev a0")
	ip(t, "address add 198.18.0.6/32 dev a0")
	ip(t, "address add fd00::5/64 dev a0 nodad")
	other(t, l, "198.18.0.7/32", 18) // another program's mark
	k := open(t, datapath.Config{})
	ip(t, "address add 198.18.0.8/32 dev a0") // somebody's, after us
	recorded := watch(t)
	for _, a := range []string{"198.18.0.5/32", "198.18.0.7/32", "198.18.0.8/32", "fd00::5/128"} {
		if err := k.Set(t.Context(), []vip.Address{addr(a, l)}); !errors.Is(err, datapath.ErrForeign) {
			t.Errorf("%s: %v", a, err)
		}
	}
	set(t, k)
	if err := k.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if got := recorded(); len(got) > 0 {
		t.Error("touched:", got)
	}
}

func TestUnmarkedAddressesOfAPredecessorAreAdopted(t *testing.T) {
	l := link(t, "a0")
	ip(t, "address add 198.18.0.1/24 dev a0") // the node's
	ip(t, "address add 198.18.0.6/32 dev a0")
	ip(t, "address add 198.18.0.7/24 dev a0") // secondary to the node's
	ip(t, "address add fd00::6/128 dev a0 nodad")
	k := open(t, datapath.Config{})
	recorded := watch(t)
	set(t, k, addr("198.18.0.6/32", l), addr("198.18.0.7/24", l), addr("fd00::6/128", l))
	if got := recorded(); strings.Contains(strings.Join(got, " "), "-") {
		t.Error("flapped:", got)
	}
	expect(t, l, "198.18.0.1/24", "198.18.0.6/32", "198.18.0.7/24", "fd00::6/128")
	set(t, k)
	expect(t, l, "198.18.0.1/24")
}

func TestRestartAdoptsAndSweeps(t *testing.T) {
	l := link(t, "a0")
	before := open(t, datapath.Config{})
	kept, stale, leased := addr("198.18.0.1/32", l), addr("198.18.0.2/32", l), until(addr("fd00::3/128", l), 20*time.Second)
	set(t, before, kept, stale, leased)
	_ = before.Close()

	k := open(t, datapath.Config{})
	recorded := watch(t)
	if d := cmp.Diff([]vip.Address{kept, stale, addr("fd00::3/128", l)}, k.Adopted(), cmp.Comparer(vip.Address.Equal)); d != "" {
		t.Error(d)
	}
	set(t, k, kept)
	expect(t, l, "198.18.0.1/32", "198.18.0.2/32", "fd00::3/128")
	if err := k.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, l, "198.18.0.1/32", "fd00::3/128") // its lifetime ends it
	set(t, k, kept, until(addr("fd00::3/128", l), 20*time.Second))
	set(t, k, kept)
	expect(t, l, "198.18.0.1/32")
	if d := cmp.Diff([]string{"-198.18.0.2/32", "+fd00::3/128", "-fd00::3/128"}, recorded()); d != "" {
		t.Error(d)
	}
	set(t, k)
	expect(t, l)
}

func TestTwoAgentsOnANodeLeaveEachOtherInPeace(t *testing.T) {
	l := link(t, "a0")
	one := open(t, datapath.Config{Instance: "control-plane"})
	set(t, one, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	two := open(t, datapath.Config{Instance: "services"})
	recorded := watch(t)
	set(t, one, addr("198.18.0.1/32", l), addr("fd00::1/128", l), addr("198.18.0.2/32", l))
	if held := append(two.Held(), two.Adopted()...); len(held) > 0 {
		t.Errorf("takes %v for its own", held)
	}
	if err := two.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	set(t, two)
	if d := cmp.Diff([]string{"+198.18.0.2/32"}, recorded()); d != "" {
		t.Error(d)
	}
	if err := two.Set(t.Context(), []vip.Address{addr("198.18.0.2/32", l)}); !errors.Is(err, datapath.ErrForeign) {
		t.Errorf("took the other's: %v", err)
	}
	// The tasks are divided otherwise: what was there at the start is handed over without a gap.
	recorded = watch(t)
	set(t, two, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	if got := recorded(); slices.ContainsFunc(got, func(s string) bool { return s[0] == '-' }) {
		t.Error("flapped:", got)
	}
	set(t, two)
	expect(t, l, "198.18.0.2/32")
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

func TestRemovingAPrimaryKeepsItsSecondaries(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/24", l), addr("198.18.0.2/24", l), addr("198.18.0.3/24", l))
	set(t, k, addr("198.18.0.2/24", l), addr("198.18.0.3/24", l))
	expect(t, l, "198.18.0.2/24", "198.18.0.3/24")
}

func TestWhatIsTakenAwayIsPutBack(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	run(t, k)
	set(t, k, addr("198.18.0.1/32", l), until(addr("fd00::1/128", l), 20*time.Second), addr("fd00::2/128", l))
	ip(t, "address del 198.18.0.1/32 dev a0")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
	ip(t, "address flush dev a0 scope global")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
	ip(t, "link set a0 down") // the kernel drops IPv6 addresses
	soon(t, l, "198.18.0.1/32")
	ip(t, "link set a0 up")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
	ip(t, "link del a0")
	link(t, "a0")
	soon(t, l, "198.18.0.1/32", "fd00::1/128", "fd00::2/128")
}

func TestLifetimeFollowsTheRight(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	run(t, k)
	lft := func(want string) {
		t.Helper()
		if out := ip(t, "address show dev a0"); strings.Count(out, want) != 2 {
			t.Errorf("not twice %q:\n%s", want, out)
		}
	}
	both := func(left time.Duration) []vip.Address {
		return []vip.Address{until(addr("198.18.0.1/32", l), left), until(addr("fd00::1/128", l), left)}
	}
	set(t, k, both(60*time.Second)...)
	lft("valid_lft 58sec preferred_lft 0sec")
	set(t, k, both(80*time.Second)...)
	lft("valid_lft 78sec preferred_lft 0sec")
	set(t, k, both(40*time.Second)...)
	lft("valid_lft 38sec preferred_lft 0sec")
	set(t, k, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	expect(t, l, "198.18.0.1/32", "fd00::1/128")
	if out := ip(t, "address show dev a0"); strings.Contains(out, "valid_lft 3") {
		t.Error("still ends:", out)
	}
	recorded := watch(t)
	ending := both(3500 * time.Millisecond)
	set(t, k, ending...)
	lft("valid_lft 2sec preferred_lft 0sec")
	soon(t, l)
	if now := time.Now(); now.After(ending[0].Until) {
		t.Errorf("gone %v after the right", now.Sub(ending[0].Until))
	}
	<-time.After(time.Until(ending[0].Until))
	want := []string{"+198.18.0.1/32", "+fd00::1/128", "-198.18.0.1/32", "-fd00::1/128"}
	got := recorded()
	slices.Sort(got[min(2, len(got)):])
	if d := cmp.Diff(want, got); d != "" {
		t.Error("the end of a lifetime isn't put back:", d)
	}
}

func TestFrozenProcessLosesItsAddress(t *testing.T) {
	l := link(t, "a0")
	cmd, held := holder(t, l, "198.18.0.1/32", "fd00::1/128")
	soon(t, l, "198.18.0.1/32", "fd00::1/128")
	<-time.After(3 * time.Second) // longer than one lifetime: it is renewed
	expect(t, l, "198.18.0.1/32", "fd00::1/128")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	soon(t, l)
	if d := time.Since(frozen); d > held {
		t.Errorf("gone %v after it was frozen, with a right of %v", d, held)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	soon(t, l, "198.18.0.1/32", "fd00::1/128")
}

// TestLostNotificationsAreReadAnew floods the socket of an agent that doesn't read, as a frozen one.
func TestLostNotificationsAreReadAnew(t *testing.T) {
	l := link(t, "a0")
	metrics := prometheus.NewRegistry()
	k := open(t, datapath.Config{Metrics: metrics})
	set(t, k, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l))
	flood := exec.Command("ip", "-batch", "-")
	flood.Stdin = strings.NewReader(strings.Repeat("address add 198.19.0.1/32 dev a0\naddress del 198.19.0.1/32 dev a0\n", 12000) +
		"address del 198.18.0.1/32 dev a0\n")
	if out, err := flood.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, l, "198.18.0.2/32")
	set(t, k, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l))
	expect(t, l, "198.18.0.1/32", "198.18.0.2/32")
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if v := f.GetMetric()[0]; f.GetName() == "daymark_datapath_overruns_total" && v.GetCounter().GetValue() != 1 {
			t.Errorf("%v overruns: the flood was too small to show anything", v.GetCounter().GetValue())
		}
	}
}
