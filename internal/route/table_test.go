package route_test

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"daymark/internal/route"
	"daymark/internal/vip"
	"daymark/test/netns"
	"daymark/test/require"
)

func link(t *testing.T, name string) string {
	t.Helper()
	netns.IP(t, "link add "+name+" type veth peer name p"+name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	netns.IP(t, "link set p"+name+" up")
	netns.IP(t, "link set "+name+" up")
	return name
}

func addr(prefix, link string) vip.Address {
	return vip.Address{Prefix: netip.MustParsePrefix(prefix), Link: link}
}

func open(t *testing.T, cfg route.Config) *route.Table {
	t.Helper()
	r, err := route.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func set(t *testing.T, r *route.Table, want ...vip.Address) {
	t.Helper()
	if err := r.Set(t.Context(), want); err != nil {
		t.Error(err)
	}
}

// routes returns what a table has, as text.
func routes(t *testing.T, table string) []string {
	t.Helper()
	var out []string
	for _, family := range []string{"-4", "-6"} {
		b, _ := exec.Command("ip", family, "route", "show", "table", table).Output() // no table is no routes
		for line := range strings.Lines(string(b)) {
			line, _, _ = strings.Cut(line, " metric")
			out = append(out, strings.Join(strings.Fields(strings.ReplaceAll(line, "scope link", "")), " "))
		}
	}
	slices.Sort(out)
	return out
}

func expect(t *testing.T, table string, want ...string) {
	t.Helper()
	for start := time.Now(); ; {
		d := cmp.Diff(want, routes(t, table))
		if d == "" {
			return
		}
		if time.Since(start) > 5*time.Second {
			t.Errorf("table %s (-want +got):\n%s", table, d)
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestSet(t *testing.T) {
	l := link(t, "r0")
	r := open(t, route.Config{})
	set(t, r, addr("198.18.0.1/32", l), addr("198.18.0.2/32", l), addr("fd00::1/128", l), addr("198.19.0.7/24", l), addr("198.19.0.8/24", l))
	expect(t, "198", "198.18.0.1 dev r0 proto 248", "198.18.0.2 dev r0 proto 248", "198.19.0.0/24 dev r0 proto 248", "fd00::1 dev r0 proto 248")
	err := r.Set(t.Context(), []vip.Address{addr("198.18.0.2/32", l), addr("198.18.0.3/32", "missing"), addr("198.18.0.4/32", l)})
	if err == nil || !strings.Contains(err.Error(), "198.18.0.3/32 by missing") {
		t.Errorf("error %v", err)
	}
	expect(t, "198", "198.18.0.2 dev r0 proto 248", "198.18.0.4 dev r0 proto 248")
	if main := routes(t, "main"); slices.ContainsFunc(main, func(s string) bool { return strings.Contains(s, "248") }) {
		t.Errorf("in the main table: %v", main)
	}
	set(t, r)
	expect(t, "198")
}

func TestTypesTablesAndProtocols(t *testing.T) {
	l := link(t, "r0")
	for name, test := range map[string]struct {
		cfg  route.Config
		want []string
	}{
		"local":     {route.Config{Type: unix.RTN_LOCAL, Table: 300, Protocol: 77}, []string{"local 198.18.0.1 dev r0 proto 77 scope host", "local fd00::1 dev r0 proto 77"}},
		"blackhole": {route.Config{Type: unix.RTN_BLACKHOLE, Table: 300}, []string{"blackhole 198.18.0.1 proto 248", "blackhole fd00::1 dev lo proto 248"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, test.cfg)
			require.Running(t, r.Run)
			set(t, r, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
			expect(t, "300", test.want...)
			netns.IP(t, "route flush table 300")
			expect(t, "300", test.want...)
			set(t, open(t, test.cfg)) // another run adopts, and leaves what it isn't asked for
			expect(t, "300", test.want...)
			set(t, r)
			expect(t, "300")
		})
	}
}

func TestWhatIsNotOursIsLeft(t *testing.T) {
	l := link(t, "r0")
	netns.IP(t, "route add 198.18.0.9/32 dev r0 table 198 proto 77")
	netns.IP(t, "route add 198.18.0.8/32 dev r0 table 198 proto 248")
	for _, clean := range []bool{false, true} {
		r := open(t, route.Config{Clean: clean})
		set(t, r, addr("198.18.0.1/32", l))
		expect(t, "198", "198.18.0.1 dev r0 proto 248", "198.18.0.8 dev r0 proto 248", "198.18.0.9 dev r0 proto 77")
		if err := r.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		set(t, r)
		if !clean { // it may be another agent's
			expect(t, "198", "198.18.0.8 dev r0 proto 248", "198.18.0.9 dev r0 proto 77")
		}
	}
	expect(t, "198", "198.18.0.9 dev r0 proto 77")
}

func TestWhatAnEarlierRunLeftIsAdopted(t *testing.T) {
	l := link(t, "r0")
	netns.IP(t, "route add 198.18.0.1/32 dev r0 table 198 proto 248") // as kube-vip has it
	r := open(t, route.Config{Clean: true})
	set(t, r, addr("198.18.0.1/32", l))
	if err := r.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, "198", "198.18.0.1 dev r0 proto 248")
	set(t, r)
	expect(t, "198")
}

func TestWhatIsTakenAwayIsPutBack(t *testing.T) {
	l := link(t, "r0")
	r := open(t, route.Config{})
	require.Running(t, r.Run)
	set(t, r, addr("198.18.0.1/32", l), addr("fd00::1/128", l))
	want := []string{"198.18.0.1 dev r0 proto 248", "fd00::1 dev r0 proto 248"}
	expect(t, "198", want...)
	netns.IP(t, "route del 198.18.0.1 table 198")
	netns.IP(t, "-6 route del fd00::1 table 198")
	expect(t, "198", want...)
	netns.IP(t, "link set r0 down") // the kernel drops them
	expect(t, "198")
	<-time.After(200 * time.Millisecond) // an attempt has failed meanwhile
	netns.IP(t, "link set r0 up")
	expect(t, "198", want...)
	netns.IP(t, "link del r0")
	link(t, "r0")
	expect(t, "198", want...)
	set(t, r)
}

func TestNothingAfterTheRightHasRunOut(t *testing.T) {
	l := link(t, "r0")
	r := open(t, route.Config{})
	require.Running(t, r.Run)
	a, b := addr("198.18.0.1/32", l), addr("198.18.0.2/32", l)
	a.Until, b.Until = time.Now().Add(300*time.Millisecond), time.Now().Add(time.Minute)
	set(t, r, a, b)
	expect(t, "198", "198.18.0.1 dev r0 proto 248", "198.18.0.2 dev r0 proto 248")
	expect(t, "198", "198.18.0.2 dev r0 proto 248")
	set(t, r, a, b)
	expect(t, "198", "198.18.0.2 dev r0 proto 248")
	set(t, r)
}

func FuzzMatters(f *testing.F) {
	f.Add([]byte{32, 0, 0, 0, unix.RTM_DELROUTE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 32, 0, 0, 198, 248, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, 198)
	f.Fuzz(func(_ *testing.T, b []byte, table int) { route.Matters(b, table) })
}
