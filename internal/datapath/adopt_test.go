package datapath_test

import (
	"context"
	"errors"
	"net/netip"
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

func TestWhatIsNotOursIsLeft(t *testing.T) {
	l := link(t, "a0")
	netns.IP(t, "address add 198.18.0.5/24 dev a0")
	netns.IP(t, "address add 198.18.0.6/32 dev a0")
	added := watch(t)
	netns.IP(t, "address add fd00::5/64 dev a0 nodad")
	added("+fd00::5/64")
	other(t, l, "198.18.0.7/32", 18) // another program's mark
	k := open(t, datapath.Config{})
	netns.IP(t, "address add 198.18.0.8/32 dev a0") // somebody's, after us
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
	netns.IP(t, "address add 198.18.0.1/24 dev a0") // the node's
	netns.IP(t, "address add 198.18.0.6/32 dev a0")
	netns.IP(t, "address add 198.18.0.7/24 dev a0") // secondary to the node's
	netns.IP(t, "address add fd00::6/128 dev a0 nodad")
	k := open(t, datapath.Config{})
	recorded := watch(t)
	left := []netip.Prefix{netip.MustParsePrefix("198.18.0.7/24"), netip.MustParsePrefix("198.18.0.6/32"), netip.MustParsePrefix("fd00::6/128")}
	for _, x := range k.Links() {
		if x.Name == l && (!slices.Equal(x.Left, left) || !slices.Contains(x.Own, netip.MustParsePrefix("198.18.0.1/24"))) {
			t.Errorf("left %v, own %v", x.Left, x.Own)
		}
	}
	set(t, k, addr("198.18.0.6/32", l), addr("198.18.0.7/24", l), addr("fd00::6/128", l))
	for _, x := range k.Links() {
		if len(x.Left) > 0 {
			t.Errorf("still left: %v", x.Left)
		}
	}
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
	// The kernel itself tells of fd00::3 once more, when it notices that it is deprecated.
	told := slices.DeleteFunc(recorded(), func(s string) bool { return s == "+fd00::3/128" })
	if d := cmp.Diff([]string{"-198.18.0.2/32", "-fd00::3/128"}, told); d != "" {
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
	changes := func() []string { // the kernel tells of an IPv6 address a moment after it is there
		return slices.DeleteFunc(recorded(), func(s string) bool { return s == "+fd00::1/128" })
	}
	if d := cmp.Diff([]string{"+198.18.0.2/32"}, changes()); d != "" {
		t.Error(d)
	}
	if err := two.Set(t.Context(), []vip.Address{addr("198.18.0.2/32", l)}); !errors.Is(err, datapath.ErrForeign) {
		t.Errorf("took the other's: %v", err)
	}
	recorded = watch(t)
	refused := func(what string) {
		t.Helper()
		for _, a := range []string{"198.18.0.1/32", "198.18.0.1/24", "fd00::1/128"} { // there at the start, and asked for by a Service
			if err := two.Set(t.Context(), []vip.Address{addr(a, l)}); !errors.Is(err, datapath.ErrForeign) {
				t.Errorf("took what the other has %s: %v", what, err)
			}
		}
	}
	refused("while it lives")
	successor := open(t, datapath.Config{Instance: "control-plane"}) // as in an upgrade
	refused("beside its successor")
	_ = one.Close()
	refused("while its successor lives")
	set(t, successor, addr("198.18.0.1/32", l), addr("fd00::1/128", l), addr("198.18.0.2/32", l))
	if got := changes(); len(got) > 0 {
		t.Error("touched:", got)
	}
	// The tasks are divided otherwise: what was there at the start is handed over without a gap.
	_ = successor.Close()
	recorded = watch(t)
	set(t, two, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	if got := recorded(); slices.ContainsFunc(got, func(s string) bool { return s[0] == '-' }) {
		t.Error("flapped:", got)
	}
	set(t, two)
	expect(t, l, "198.18.0.2/32")
}

// agents returns what a kernel tells that other agents have on a link, and what is the node's own there.
func agents(k *datapath.Kernel, link string) (others, own []string) {
	for _, x := range k.Links() {
		for _, p := range x.Agents {
			if x.Name == link {
				others = append(others, p.String())
			}
		}
		for _, p := range x.Own {
			if x.Name == link && !p.Addr().IsLinkLocalUnicast() {
				own = append(own, p.String())
			}
		}
	}
	return others, own
}

func TestWhatAnotherAgentHasIsToldOf(t *testing.T) {
	l := link(t, "a0")
	one, two := open(t, datapath.Config{Instance: "control-plane"}), open(t, datapath.Config{Instance: "services"})
	require.Running(t, two.Run)
	told := make(chan []string, 100)
	require.Running(t, func(ctx context.Context) error {
		return two.WatchLinks(ctx, func([]datapath.Link) { others, _ := agents(two, l); told <- others })
	})
	tells := func(what string, want ...string) {
		t.Helper()
		end := time.After(10 * time.Second)
		for {
			select {
			case got := <-told:
				if slices.Equal(want, got) {
					return
				}
			case <-end:
				others, own := agents(two, l)
				t.Fatalf("%s: never told of %v, only of %v, the node's own %v", what, want, others, own)
			}
		}
	}
	tells("nothing")
	set(t, one, until(addr("198.18.0.1/32", l), 20*time.Second), addr("198.18.0.2/24", l))
	tells("held", "198.18.0.2/24", "198.18.0.1/32")
	if others, own := agents(open(t, datapath.Config{Instance: "late"}), l); len(others) != 2 || len(own) > 0 {
		t.Errorf("who comes later is told of %v, the node's own %v", others, own)
	}
	successor := open(t, datapath.Config{Instance: "control-plane"})
	if others, own := agents(successor, l); len(others)+len(own) > 0 {
		t.Errorf("its own successor is told of %v, the node's own %v", others, own)
	}
	_ = successor.Close()
	set(t, one, addr("198.18.0.2/24", l))
	tells("let go of one", "198.18.0.2/24")
	_ = one.Close() // it may come back
	set(t, two, addr("198.18.0.3/32", l))
	if others, _ := agents(two, l); !slices.Equal([]string{"198.18.0.2/24"}, others) {
		t.Errorf("told of %v", others)
	}
	if others, own := agents(open(t, datapath.Config{Instance: "late again"}), l); !slices.Equal([]string{"198.18.0.3/32"}, others) || len(own) > 0 {
		t.Errorf("who never saw it live is told of %v, the node's own %v", others, own)
	}
}

// TestAKilledAgentsAddressesAreTaken: while the process is there, frozen or not, they are its own.
func TestAKilledAgentsAddressesAreTaken(t *testing.T) {
	l := link(t, "a0")
	cmd := holderFor(t, time.Hour, l, "198.18.0.1/32")
	soon(t, l, "198.18.0.1/32")
	k := open(t, datapath.Config{Instance: "services"})
	refused := func() {
		t.Helper()
		if err := k.Set(t.Context(), []vip.Address{addr("198.18.0.1/32", l)}); !errors.Is(err, datapath.ErrForeign) {
			t.Errorf("took what a living agent has: %v", err)
		}
	}
	refused()
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	refused()
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	recorded := watch(t)
	set(t, k, addr("198.18.0.1/32", l))
	if got := recorded(); slices.ContainsFunc(got, func(s string) bool { return s[0] == '-' }) {
		t.Error("flapped:", got)
	}
	expect(t, l, "198.18.0.1/32")
}
