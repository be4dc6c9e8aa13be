package datapath_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/datapath"
	"daymark/internal/vip"
	"daymark/test/netns"
)

func TestWhatIsNotOursIsLeft(t *testing.T) {
	l := link(t, "a0")
	netns.IP(t, "address add 198.18.0.5/24 dev a0")
	netns.IP(t, "address add 198.18.0.6/32 dev a0")
	netns.IP(t, "address add fd00::5/64 dev a0 nodad")
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
