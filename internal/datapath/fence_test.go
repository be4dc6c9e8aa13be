package datapath_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/datapath"
	"daymark/internal/vip"
	"daymark/test/netns"
	"daymark/test/require"
)

func TestLifetimeFollowsTheRight(t *testing.T) {
	l := link(t, "a0")
	k := open(t, datapath.Config{})
	require.Running(t, k.Run)
	lft := func(want int) {
		t.Helper()
		out := netns.IP(t, "address show dev a0")
		n := 0
		for _, s := range []int{want, want - 1, want - 2} { // a starved machine looks late
			n += strings.Count(out, fmt.Sprintf("valid_lft %dsec preferred_lft 0sec", s))
		}
		if n != 2 {
			t.Errorf("not twice %d s:\n%s", want, out)
		}
	}
	both := func(left time.Duration) []vip.Address {
		return []vip.Address{until(addr("198.18.0.1/32", l), left), until(addr("fd00::1/128", l), left)}
	}
	set(t, k, both(60*time.Second)...)
	lft(58)
	set(t, k, both(80*time.Second)...)
	lft(78)
	set(t, k, both(40*time.Second)...)
	lft(38)
	set(t, k, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	expect(t, l, "198.18.0.1/32", "fd00::1/128")
	if out := netns.IP(t, "address show dev a0"); strings.Contains(out, "valid_lft 3") {
		t.Error("still ends:", out)
	}
	recorded := watch(t)
	ending := both(4500 * time.Millisecond)
	set(t, k, ending...)
	soon(t, l)
	if now := time.Now(); now.After(ending[0].Until) {
		t.Errorf("gone %v after the right", now.Sub(ending[0].Until))
	}
	<-time.After(time.Until(ending[0].Until))
	want := []string{"+198.18.0.1/32", "+fd00::1/128", "-198.18.0.1/32", "-fd00::1/128"}
	got := recorded()
	slices.Sort(got)
	got = slices.Compact(got) // the kernel itself tells once more of an IPv6 address that is deprecated
	if d := cmp.Diff(want, got); d != "" {
		t.Error("the end of a lifetime isn't put back:", d)
	}
}

func TestFrozenProcessLosesItsAddress(t *testing.T) {
	l := link(t, "a0")
	cmd, held := holder(t, l, "198.18.0.1/32", "fd00::1/128")
	soon(t, l, "198.18.0.1/32", "fd00::1/128")
	<-time.After(4 * time.Second) // longer than one lifetime: it is renewed
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
