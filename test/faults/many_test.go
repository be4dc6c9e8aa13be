package faults_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// many is a bed with many Services.
type many struct {
	*bed
	name   string // of the Services, before their numbers
	addrs  []netip.Addr
	every  time.Duration // the observer's period for each
	moving []netip.Addr  // some of those that a node had which went last: it is to have them again when it comes
	// struck is the node that a fault strikes, "" for none: two that answer are counted where it is one of them. The others share
	// anew what is left to them meanwhile, in hand-overs that have their own bound.
	struck string
	comer  string // the node that comes back, "" for none
}

// newMany creates Services and waits until all are answered for, by an observer that asks until the test ends.
func newMany(t *testing.T, b *bed, name string, count int, every time.Duration) *many {
	t.Helper()
	m := &many{bed: b, name: name, every: every}
	for i := range count {
		m.addrs = append(m.addrs, netip.AddrFrom4([4]byte{198, 18, 7, byte(i + 1)}))
	}
	_, subnet, err := net.ParseCIDR("198.18.7.0/24")
	require.NoError(t, err)
	link := require.Value(b.Client.Netlink().LinkByName("eth0"))(t)
	require.NoError(t, b.Client.Netlink().RouteReplace(&netlink.Route{Dst: subnet, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK}))
	for _, addr := range m.addrs {
		t.Cleanup(require.Value(b.LAN.Observer().Ask(addr, every))(t))
	}
	began := time.Now()
	services := client(t, b.Nodes()[0]).CoreV1().Services("default")
	m.each(t, func(name string, addr netip.Addr) error {
		_, err := services.Create(t.Context(), serviceWith(name, addr), metav1.CreateOptions{})
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, m.awaitAnswers(ctx, nil, began))
	t.Logf("%d Services created and all answered for after %v", count, time.Since(began))
	return m
}

// delete deletes the Services and waits until no kernel has their addresses.
func (m *many) delete(t *testing.T) {
	t.Helper()
	services := client(t, m.Nodes()[0]).CoreV1().Services("default")
	m.each(t, func(name string, _ netip.Addr) error {
		return services.Delete(t.Context(), name, metav1.DeleteOptions{})
	})
	m.gone(t)
}

// each does something with every Service, some at a time.
func (m *many) each(t *testing.T, do func(name string, addr netip.Addr) error) {
	t.Helper()
	errs := make(chan error, len(m.addrs))
	limit := make(chan struct{}, 16)
	for i, addr := range m.addrs {
		go func() {
			limit <- struct{}{}
			errs <- do(fmt.Sprintf("%s-%d", m.name, i), addr)
			<-limit
		}()
	}
	for range m.addrs {
		require.NoError(t, <-errs)
	}
}

// gone waits until no kernel has an address of them.
func (m *many) gone(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), leaseDuration+5*time.Second)
	defer cancel()
	for _, n := range m.Nodes() {
		for _, addr := range m.addrs {
			require.NoError(t, n.WaitNoAddr(ctx, addr))
		}
	}
}

// serviceWith is a Service that is announced although nothing serves it.
func serviceWith(name string, addr netip.Addr) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			annotations.LoadBalancerIPs: addr.String(), annotations.AllowReconcileWithoutEndpoints: "true",
		}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(bool), Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
}

// awaitAnswers waits until every address is answered for by a node other than not.
func (m *many) awaitAnswers(ctx context.Context, not *controlplane.Node, since time.Time) error {
	for _, addr := range m.addrs {
		_, err := m.LAN.Observer().Wait(ctx, addr, since, func(a netns.Answer) bool {
			return (a.Kind == netns.Reply || a.Kind == netns.Announcement) && (not == nil || a.Host != not.Name())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// goes plays a fault that takes its addresses from a node, until others have them all.
func (m *many) goes(t *testing.T, tb *table, fault string, n *controlplane.Node, do func() error, most bounds) {
	t.Helper()
	m.pulse.calm(t)
	m.rest(t)
	began := time.Now()
	m.moving, m.struck = m.heldBy(t, n), n.Name()
	defer func() { m.struck = "" }()
	s := m.suffer(t, m.moving, do, func(ctx context.Context) error { return m.awaitAnswers(ctx, n, began) })
	tb.check(t, fault, s, most)
	m.least(t, s, n)
}

// comes plays the return of a node, which takes its share of the addresses back.
func (m *many) comes(t *testing.T, tb *table, fault string, n *controlplane.Node, do func() error) {
	t.Helper()
	m.comer = n.Name()
	defer func() { m.comer = "" }()
	s := m.suffer(t, m.moving, do, after(leaseDuration+retryPeriod))
	tb.check(t, fault, s, handover)
	// Its share is a third, and those of all are within ten addresses of even, or less.
	if took := m.least(t, s, n); took < manyServices/4 || took > manyServices*2/5 {
		t.Errorf("%s took %d of %d addresses, want about %d", n.Name(), took, manyServices, manyServices/3)
	}
}

// suffer plays a fault, watches all addresses until over and a second on, and has a client ask for some of them.
func (m *many) suffer(t *testing.T, some []netip.Addr, do func() error, over func(context.Context) error) seen {
	t.Helper()
	m.pulse.calm(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	s, end := m.ask(ctx, t, some, do, over)
	s.moves = map[move]int{}
	for _, addr := range m.addrs {
		m.look(t, addr, end, &s)
	}
	return s
}

// look takes in what the observer saw of an address up to end.
func (m *many) look(t *testing.T, addr netip.Addr, end time.Time, s *seen) {
	t.Helper()
	observer := m.LAN.Observer()
	history := observer.History(addr, s.began).Between(s.began, end)
	silence := observer.Silence(addr, s.began, end)
	s.unasked = max(s.unasked, silence.Unasked)
	if silence.Longest > s.silence {
		s.silence, s.excused = silence.Longest, silence.Excused
		s.observed = fmt.Sprintf("by the observer, %s since %s:\n%s", addr, s.began.Format("15:04:05.000"), around(history.Answers(), silence.From))
	}
	if overlap := observer.OverlapOf(m.struck, addr, s.began, end, m.every*5/2); overlap > s.overlap {
		s.overlap, s.turns = overlap, addr.String()+"\n"+history.Turns().String()
	}
	from := s.began
	if m.comer != "" {
		from = from.Add(-2 * handover.overlap) // one word counts for as long as it is from the nearer end of the other's time: that must be seen
	}
	if overlap := observer.Overlap(addr, from, end, m.every*5/2); overlap > handover.overlap {
		t.Errorf("two answered for %v, want at most %v in any case:\n%s", overlap, handover.overlap, history.Turns())
	}
	// Two that both had the right would announce in turn, every 3 s each. Weights that follow a node's return may move an address
	// more than once, but from one to the next.
	turns := history.Of(netns.Announcement).Turns()
	for i := 3; i < len(turns); i++ {
		if turns[i].Host == turns[i-2].Host && turns[i-1].Host == turns[i-3].Host {
			t.Errorf("announced in turn:\n%s", turns)
			break
		}
	}
	if said := observer.Unfounded(m.comer, addr, s.began, end); said != nil {
		t.Errorf("%s came back and spoke for what it didn't have:\n%s", m.comer, said)
	}
	all := observer.History(addr, time.Time{})
	was, ok := all.Last(s.began)
	if is, _ := all.Last(end); ok && was.Host != is.Host {
		s.moves[move{was.Host, is.Host}]++
	}
	if ok && was.Host == m.struck {
		s.succession.take(m.pulse, s.began, m.struck, addr, history)
	}
}

// around are the answers before and after a moment.
func around(h netns.History, at time.Time) netns.History {
	i, _ := slices.BinarySearchFunc(h, at, func(a netns.Answer, at time.Time) int { return a.At.Compare(at) })
	return h[max(0, i-4):min(len(h), i+4)]
}

// heldBy returns addresses that n has: as many as a client asks for.
func (m *many) heldBy(t *testing.T, n *controlplane.Node) (out []netip.Addr) {
	t.Helper()
	for _, addr := range m.addrs {
		if require.Value(n.Has(addr))(t) {
			out = append(out, addr)
		}
		if len(out) == askedOfMany {
			return out
		}
	}
	t.Fatalf("%s has %d addresses", n.Name(), len(out))
	return nil
}

// holder waits until one node has all the addresses, and returns it.
func (m *many) holder(t *testing.T) *controlplane.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		count := m.count(t)
		for _, n := range m.Nodes() {
			if count[n.Name()] == len(m.addrs) && len(count) == 1 {
				return n
			}
		}
		if err := after(50 * time.Millisecond)(ctx); err != nil {
			t.Fatalf("of %d addresses these nodes have so many: %v", len(m.addrs), count)
		}
	}
}

// count is how many of the addresses each node has that has some.
func (m *many) count(t *testing.T) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, n := range m.Nodes() {
		for _, p := range require.Value(n.Addrs("eth0"))(t) {
			if slices.Contains(m.addrs, p.Addr()) {
				count[n.Name()]++
			}
		}
	}
	return count
}

// rest waits until every address is in exactly one kernel, and has been in the same for as long as two looks at how even the spread is
// take, which may move some: a node that is struck in the middle of a hand-over goes on answering for what it passed.
func (m *many) rest(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last [][]netip.Prefix
	since := time.Now()
	for began := since; time.Since(since) < 4500*time.Millisecond; <-tick.C {
		var now [][]netip.Prefix
		total := 0
		for _, n := range m.Nodes() {
			addrs := slices.DeleteFunc(require.Value(n.Addrs("eth0"))(t), func(p netip.Prefix) bool { return !slices.Contains(m.addrs, p.Addr()) })
			now, total = append(now, addrs), total+len(addrs)
		}
		if total != len(m.addrs) || !slices.EqualFunc(now, last, slices.Equal) {
			last, since = now, time.Now()
		}
		if since.Sub(began) > 20*time.Second {
			t.Fatalf("addresses move all the time, or are not on one node each: %d of %d now", total, len(m.addrs))
		}
	}
}

// once asserts that every address is in exactly one kernel.
func (m *many) once(t *testing.T) {
	t.Helper()
	count := map[netip.Addr]int{}
	for _, n := range m.Nodes() {
		for _, p := range require.Value(n.Addrs("eth0"))(t) {
			count[p.Addr()]++
		}
	}
	for _, addr := range m.addrs {
		if count[addr] != 1 {
			t.Errorf("%s is on %d nodes", addr, count[addr])
		}
	}
}

// labelled asserts that a node whose agent was killed is labelled with what it holds now, and not with what it held.
func (m *many) labelled(t *testing.T, n *controlplane.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := controlplane.Await(ctx, client(t, n).CoreV1().Nodes(), n.Name(), func(node *corev1.Node) bool {
		labels := 0
		for key := range node.Labels {
			if strings.HasPrefix(key, annotations.ServiceLabelPrefix) {
				labels++
			}
		}
		held := 0
		for _, addr := range m.addrs {
			if has, err := n.Has(addr); err == nil && has {
				held++
			}
		}
		return labels == held && held > 0
	})
	if err != nil {
		t.Errorf("the labels of %s: %v", n.Name(), err)
	}
}
