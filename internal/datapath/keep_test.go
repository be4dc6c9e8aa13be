package datapath_test

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/datapath"
	"daymark/internal/vip"
	"daymark/test/netns"
	"daymark/test/require"
)

// promote says whether a secondary address takes the place of a primary one that goes, on all links and on one, until the test ends.
func promote(t *testing.T, all, link, one string) {
	t.Helper()
	for name, value := range map[string]string{"all": all, link: one} {
		path := "/proc/sys/net/ipv4/conf/" + name + "/promote_secondaries"
		before := require.Value(os.ReadFile(path))(t)
		require.NoError(t, os.WriteFile(path, []byte(value), 0))
		t.Cleanup(func() { _ = os.WriteFile(path, before, 0) })
	}
}

// never says where one of the addresses was gone for a moment, as the kernel told it.
func never(t *testing.T, told, there []string, stay ...string) {
	t.Helper()
	for i, change := range told {
		there = slices.DeleteFunc(there, func(p string) bool { return p == change[1:] })
		if change[0] == '+' {
			there = append(there, change[1:])
		}
		for _, a := range stay {
			if !slices.ContainsFunc(there, func(p string) bool { return strings.HasPrefix(p, a+"/") }) {
				t.Errorf("%s was gone after %s, number %d of %v", a, change, i, told)
			}
		}
	}
}

// TestRemovingAPrimaryKeepsItsSecondaries follows what the kernel tells: of those that stay, one form is there at every moment.
func TestRemovingAPrimaryKeepsItsSecondaries(t *testing.T) {
	for name, test := range map[string]struct {
		all, one, own string
		right         time.Duration
		want          []string // nil: whatever keeps those that stay
	}{
		"removed with it":                {all: "0", one: "0"},
		"removed with it, under a right": {all: "0", one: "0", right: time.Minute},
		"promoted":                       {all: "1", one: "0", want: []string{"+198.18.0.4/24", "-198.18.0.1/24", "+198.18.0.2/24"}},
		"promoted on this link":          {all: "0", one: "1", want: []string{"+198.18.0.4/24", "-198.18.0.1/24", "+198.18.0.2/24"}},
		"secondary itself":               {all: "0", one: "0", own: "198.18.0.99/24", want: []string{"+198.18.0.4/24", "-198.18.0.1/24"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := link(t, "a0")
			promote(t, test.all, l, test.one)
			if test.own != "" {
				netns.IP(t, "address add "+test.own+" dev a0")
			}
			var log strings.Builder
			k := open(t, datapath.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
			held := func(last ...string) (out []vip.Address) {
				for _, n := range last {
					a := addr("198.18.0."+n+"/24", l)
					if test.right > 0 {
						a = until(a, test.right)
					}
					out = append(out, a)
				}
				return out
			}
			set(t, k, held("1", "2", "3")...)
			recorded := watch(t)
			set(t, k, held("2", "3", "4")...)
			got := recorded()
			if test.want != nil {
				if d := cmp.Diff(test.want, got); d != "" {
					t.Error(d)
				}
			}
			never(t, got, []string{"198.18.0.2/24", "198.18.0.3/24"}, "198.18.0.2", "198.18.0.3")
			want := append([]string{"198.18.0.2/24", "198.18.0.3/24", "198.18.0.4/24"}, test.own)
			expect(t, l, slices.DeleteFunc(want, func(p string) bool { return p == "" })...)
			if n := strings.Count(log.String(), "released"); n != 1 {
				t.Errorf("%d addresses are told to be released, and one is:\n%s", n, &log)
			}
			set(t, k, held("3")...)
			expect(t, l, slices.DeleteFunc([]string{"198.18.0.3/24", test.own}, func(p string) bool { return p == "" })...)
		})
	}
}

// TestAKeeperThatIsThereIsKept has one that is of no more use removed after what it would be of use for.
func TestAKeeperThatIsThereIsKept(t *testing.T) {
	l := link(t, "a0")
	promote(t, "0", l, "0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/24", l), addr("198.18.0.2/24", l))
	_, rest, ok := strings.Cut(netns.IP(t, "-o address show dev a0 to 198.18.0.2"), " metric ")
	if !ok {
		t.Fatal("no metric")
	}
	mark, _, _ := strings.Cut(rest, " ")
	netns.IP(t, "address add 198.18.0.2/32 dev a0 noprefixroute metric "+mark)
	recorded := watch(t)
	set(t, k, addr("198.18.0.2/24", l))
	never(t, recorded(), []string{"198.18.0.2/24", "198.18.0.2/32"}, "198.18.0.2")
	expect(t, l, "198.18.0.2/24")
}

func TestSomebodyElsesAddressIsNotKept(t *testing.T) {
	l := link(t, "a0")
	promote(t, "0", l, "0")
	k := open(t, datapath.Config{})
	set(t, k, addr("198.18.0.1/24", l))
	netns.IP(t, "address add 198.18.0.9/24 dev a0") // the node's, after us
	recorded := watch(t)
	_ = k.Set(t.Context(), []vip.Address{addr("198.18.0.9/24", l)}) // the kernel takes it away with ours, after which anybody may have it
	if got := recorded(); slices.Contains(got, "+198.18.0.9/32") {
		t.Error("touched:", got)
	}
}
