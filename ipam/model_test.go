package ipam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/vip"
	"daymark/ipam"
)

// match plays the same random steps to an allocator and to the naive one, and compares every answer.
type match struct {
	t     *testing.T
	bytes []byte
	real  *ipam.Allocator
	naive *naive
	steps []string
}

func (m *match) next(n int) int {
	if len(m.bytes) == 0 {
		return 0
	}
	b := m.bytes[0]
	m.bytes = m.bytes[1:]
	return int(b) % n
}

func (m *match) note(format string, args ...any) {
	m.steps = append(m.steps, fmt.Sprintf(format, args...))
}

func (m *match) fail(format string, args ...any) {
	m.t.Helper()
	if len(m.steps) > 60 {
		m.steps = m.steps[len(m.steps)-60:]
	}
	m.t.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), strings.Join(m.steps, "\n"))
}

var modelOwners = []string{"shop/a", "shop/b", "shop/c", "shop/d", "blog/a", "blog/b", "blog/c", "other/a", "other/b", "other/c"}

var modelConfigs = []map[string]string{
	{"cidr-global": "10.0.0.252/30,10.0.1.0/30,fd00::/126"},
	{"cidr-global": "10.0.0.250-10.0.1.9,fd00::/125", "allow-share-global": "true"},
	{"cidr-global": "10.0.0.250-10.0.1.9,fd00::/125", "allow-share-global": "true", "allow-share-shop": "false", "search-order": "desc"},
	{"cidr-shop": "10.0.0.253-10.0.1.2,fd00::1-fd00::2", "cidr-global": "10.0.1.0/29,fd00::/126", "spill-to-global": "true", "allow-share-global": "true"},
	{"range-shop": "10.0.0.251-10.0.1.2", "range-blog": "10.0.1.1-10.0.1.3,fd00::/127", "cidr-global": "10.0.0.250-10.0.1.9", "quota-shop": "2", "allow-outside-pools": "true"},
	{"range-shop": "10.0.0.251-10.0.1.2", "cidr-global": "10.0.1.0/29,10.0.1.0/32,10.0.0.255/32", "pool-precedence": "legacy", "skip-end-ips-in-cidr": "true", "allow-share-blog": "true"},
	{"cidr-global": "0.0.0.0/32,fd00::/126", "cidr-blog": "10.0.0.254/31,::/128", "allow-share-global": "true", "exclude": "fd00::1"},
	{"cidr-shop": "10.0.0.252/30"},
}

var modelExclusions = [][]ipam.Exclusion{
	nil,
	{{Prefix: netip.MustParsePrefix("10.0.1.1/32"), What: "node a"}},
	{{Prefix: netip.MustParsePrefix("10.0.0.252/31"), What: "pods"}, {Prefix: netip.MustParsePrefix("fd00::2/127"), What: "services"}},
	{{Prefix: netip.MustParsePrefix("10.0.1.255/32"), What: "far away"}},
}

func (m *match) owner() string { return modelOwners[m.next(len(modelOwners))] }

func (m *match) addrs(most int) []netip.Addr {
	var out []netip.Addr
	all := append(universe(), netip.IPv4Unspecified())
	for range m.next(most + 1) {
		if a := all[m.next(len(all))]; !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func (m *match) ports() []ipam.Port {
	var out []ipam.Port
	for mask, n := m.next(32), 0; n < 4; n++ {
		if mask&(1<<n) != 0 {
			out = append(out, ipam.Port{Protocol: []vip.Protocol{vip.TCP, vip.UDP}[n%2], Port: uint16(80 + n/2)})
		}
	}
	return out
}

func (m *match) request() ipam.Request {
	r := ipam.Request{Owner: m.owner(), Ports: m.ports(), Policy: ipam.Policy(m.next(3))}
	r.Namespace, _, _ = strings.Cut(r.Owner, "/")
	r.Families = [][]ipam.Family{nil, {ipam.IPv4}, {ipam.IPv6}, {ipam.IPv4, ipam.IPv6}, {ipam.IPv6, ipam.IPv4}}[m.next(5)]
	if m.next(3) == 0 {
		r.Requested = m.addrs(2)
	}
	return r
}

func (m *match) step() {
	switch m.next(12) {
	case 0:
		owner := m.owner()
		m.note("release %s", owner)
		delete(m.naive.services, owner)
		m.woken(m.real.Release(owner))
	case 1:
		e := ipam.Existing{Owner: m.owner(), Ports: m.ports(), Addrs: m.addrs(2), Shown: m.addrs(1)}
		e.Namespace, _, _ = strings.Cut(e.Owner, "/")
		e.Addrs = slices.DeleteFunc(e.Addrs, netip.Addr.IsUnspecified)
		e.Shown = slices.DeleteFunc(e.Shown, netip.Addr.IsUnspecified)
		m.note("sees %+v", e)
		m.naive.observe(e)
		wake, _ := m.real.Observe(e)
		m.woken(wake)
	case 2:
		data := modelConfigs[m.next(len(modelConfigs))]
		m.note("pools %v", data)
		config, problems := ipam.Parse(data)
		for _, p := range problems {
			if !p.Warning {
				m.fail("%v", p)
			}
		}
		m.naive.config = config
		m.woken(m.real.SetConfig(config).Wake)
	case 3:
		list := modelExclusions[m.next(len(modelExclusions))]
		m.note("exclude %v", list)
		m.naive.excluded = list
		m.woken(m.real.SetExclusions(list).Wake)
	default:
		m.ensure(m.request())
	}
	m.compare()
}

func (m *match) ensure(r ipam.Request) {
	m.note("ensure %+v", r)
	grant, err := m.real.Ensure(r)
	var refusals ipam.Refusals
	if err != nil && !errors.As(err, &refusals) {
		m.fail("%v", err)
	}
	s := m.naive.service(r.Owner)
	m.naive.setPorts(s, r.Ports)
	take, refused, missing := m.naive.plan(s, r)
	s.last, s.woken, s.waits = r, false, len(refused)+len(missing) > 0
	if got := reasons(refusals); !slices.Equal(got, distinct(refused)) {
		m.fail("refused because of %v (%v), want %v", got, err, refused)
	}
	if got := reasons(grant.Missing); !slices.Equal(got, distinct(missing)) {
		m.fail("missing %v, want %v", got, missing)
	}
	if err != nil {
		m.note("  refused %v", err)
		m.woken(m.real.Wake())
		return
	}
	m.alone(s, grant)
	s.apply(take, r)
	if len(r.Families) > 0 {
		slices.SortStableFunc(take, func(a, b netip.Addr) int {
			return b2i(ipam.FamilyOf(a) != r.Families[0]) - b2i(ipam.FamilyOf(b) != r.Families[0])
		})
	}
	if d := cmp.Diff(take, grant.List(), compareAddrs); d != "" {
		m.fail("granted %v, want %v", grant.List(), take)
	}
	m.note("  granted %v, drops %v", grant.List(), grant.Dropped)
	switch m.next(8) {
	case 0:
		m.note("  nobody knows")
	case 1:
		m.note("  rolled back")
		s.finish(false)
		m.woken(m.real.Rollback(r.Owner))
	default:
		s.finish(true)
		m.woken(m.real.Commit(r.Owner))
	}
}

// alone checks that what is new in grant is nobody's, or is shared by the rules; it looks at the holders only, before the naive one moves.
func (m *match) alone(s *service, grant ipam.Grant) {
	for _, a := range grant.Addrs {
		if !a.New || s.claim(a.Addr) != nil {
			continue
		}
		for _, other := range m.naive.others(a.Addr, s) {
			if !m.naive.config.Shares(s.namespace) || !m.naive.config.Shares(other.namespace) || meet(s.ports, other.ports) {
				m.fail("%s was given to %s although %s has it", a.Addr, s.owner, other.owner)
			}
		}
		if m.naive.isExcluded(a.Addr) {
			m.fail("%s is excluded", a.Addr)
		}
	}
}

// woken checks that nobody who could be served is left to sleep.
func (m *match) woken(wake []string) {
	for _, owner := range wake {
		m.naive.service(owner).woken = true
	}
	for _, s := range m.naive.services {
		if !s.waits || s.woken {
			continue
		}
		if _, refused, missing := m.naive.plan(s, s.last); len(refused) == 0 && len(missing) == 0 {
			m.fail("%s waits and is not woken", s.owner)
		}
	}
}

// compare checks that both know the same holders, and that the pools' figures are right.
func (m *match) compare() {
	var got, want []string
	for _, h := range m.real.Holdings() {
		got = append(got, h.Addr.String()+" "+h.Owner)
	}
	for _, s := range m.naive.services {
		for _, c := range s.holds {
			want = append(want, c.addr.String()+" "+s.owner)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		m.fail("holders differ: %s", cmp.Diff(want, got))
	}
	for _, stats := range m.real.Stats() {
		used, free, shared := 0, 0, 0
		for _, a := range universe() {
			if ipam.FamilyOf(a) != stats.Family || !m.naive.has(stats.Pool, a) {
				continue
			}
			switch n := len(m.naive.others(a, nil)); {
			case n > 1:
				used, shared = used+1, shared+1
			case n == 1:
				used++
			case !m.naive.isExcluded(a):
				free++
			}
		}
		want := ipam.Stats{
			Pool: stats.Pool, Family: stats.Family, DHCP: stats.DHCP, Shared: shared,
			Used: ipam.CountOf(uint64(used)), Free: ipam.CountOf(uint64(free)), Size: ipam.CountOf(uint64(used + free)),
		}
		if stats != want {
			m.fail("stats %+v, want %+v", stats, want)
		}
	}
}

func reasons(list ipam.Refusals) []ipam.Reason {
	var out []ipam.Reason
	for _, r := range list {
		out = append(out, r.Reason)
	}
	return distinct(out)
}

// distinct returns the reasons as a set: one refusal may speak for both families.
func distinct(list []ipam.Reason) []ipam.Reason {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func play(t *testing.T, bytes []byte) {
	m := match{t: t, bytes: bytes, real: ipam.New(), naive: &naive{services: map[string]*service{}}}
	if m.next(4) == 0 {
		m.replay()
	} else {
		m.real.Replay(nil)
	}
	for len(m.bytes) > 0 {
		m.step()
	}
}

// replay starts with Services that have addresses, whatever they are.
func (m *match) replay() {
	var all []ipam.Existing
	for _, owner := range modelOwners[:m.next(len(modelOwners))+1] {
		e := ipam.Existing{Owner: owner, Ports: m.ports(), Addrs: m.addrs(3), Shown: m.addrs(1)}
		e.Namespace, _, _ = strings.Cut(owner, "/")
		e.Shown = slices.DeleteFunc(e.Shown, netip.Addr.IsUnspecified)
		if m.next(3) == 0 {
			e.Requested = e.Addrs
		}
		all = append(all, e)
		m.naive.observe(e)
		for _, c := range m.naive.service(owner).holds {
			c.given = slices.Contains(e.Addrs, c.addr)
			c.requested = slices.Contains(e.Requested, c.addr)
		}
	}
	m.note("replay %+v", all)
	var got []string
	for _, c := range m.real.Replay(all) {
		got = append(got, fmt.Sprint(c.Addr, c.Owners))
	}
	var want []string
	for _, addr := range universe() {
		var owners []string
		for _, s := range m.naive.others(addr, nil) {
			if m.naive.rival(addr, s, s.ports) {
				owners = append(owners, s.owner)
			}
		}
		if len(owners) > 0 {
			slices.Sort(owners)
			want = append(want, fmt.Sprint(addr, owners))
		}
	}
	if !slices.Equal(got, want) {
		m.fail("conflicts %v, want %v", got, want)
	}
	m.compare()
}

func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		bytes := make([]byte, 2000)
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { play(t, bytes) })
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte("\x02\x01daymark gives fixed addresses, and never one twice"))
	f.Fuzz(func(t *testing.T, bytes []byte) { play(t, bytes[:min(len(bytes), 4000)]) })
}
