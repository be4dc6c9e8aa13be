package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
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

const (
	manyServices = 200
	askingMany   = 200 * time.Millisecond // period of the observer's questions for each of many addresses
	askedOfMany  = 8                      // how many of them a client asks for
)

// services are the faults of 200 addresses that are spread over the nodes, which go and come one after the other.
func (b *bed) services(t *testing.T, tb *table) {
	tb.heading(fmt.Sprintf("%d Services spread over the nodes (svc_election), the worst of them", manyServices))
	b.run(t, b.vips, "--services", "--servicesElection", "--enableNodeLabeling")
	m := &many{bed: b}
	for i := range manyServices {
		m.addrs = append(m.addrs, netip.AddrFrom4([4]byte{198, 18, 7, byte(i + 1)}))
	}
	_, subnet, err := net.ParseCIDR("198.18.7.0/24")
	require.NoError(t, err)
	link := require.Value(b.Client.Netlink().LinkByName("eth0"))(t)
	require.NoError(t, b.Client.Netlink().RouteReplace(&netlink.Route{Dst: subnet, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK}))
	for _, addr := range m.addrs {
		stop := require.Value(b.LAN.Observer().Ask(addr, askingMany))(t)
		defer stop()
	}
	began := time.Now()
	m.create(t)
	m.answered(t, nil, began, 30*time.Second)
	t.Logf("%d Services created and all answered for after %v", manyServices, time.Since(began))

	nodes := b.Nodes()
	m.goes(t, tb, "SIGTERM of one node's agent", nodes[0], b.stopped(t, nodes[0]), handover)
	m.comes(t, tb, "that agent started again", nodes[0], func() error { b.start(t, nodes[0]); return nil })
	m.goes(t, tb, "SIGKILL of one node's agent", nodes[1], b.agents[nodes[1].Name()].Kill, bounds{silence: dead})
	m.comes(t, tb, "that agent started again", nodes[1], func() error { b.start(t, nodes[1]); return nil })
	m.labelled(t, nodes[1])
	m.goes(t, tb, "node cordoned", nodes[2], func() error { return b.cordon(t, nodes[2], true) }, handover)
	m.comes(t, tb, "and uncordoned", nodes[2], func() error { return b.cordon(t, nodes[2], false) })
	m.goes(t, tb, "cable of one node cut", nodes[0], nodes[0].Cut, bounds{silence: cut})
	m.comes(t, tb, "and mended", nodes[0], nodes[0].Mend)
	agent := b.agents[nodes[1].Name()]
	m.goes(t, tb, "SIGSTOP of one node's agent", nodes[1], func() error { return agent.Signal(syscall.SIGSTOP) }, bounds{silence: dead})
	m.comes(t, tb, "and SIGCONT", nodes[1], func() error { return agent.Signal(syscall.SIGCONT) })
	var mend func(context.Context) error
	m.goes(t, tb, "API path of one node cut", nodes[2], func() (err error) {
		mend, err = nodes[2].Block(t.Context(), netns.Path{Protocol: "tcp", Port: controlplane.APIPort, Local: true})
		return err
	}, bounds{silence: dead})
	m.comes(t, tb, "and mended", nodes[2], func() error { return mend(t.Context()) })
	s := m.suffer(t, m.heldBy(t, nodes[0]), func() error { return m.deleteLeases(t) }, after(leaseDuration+retryPeriod))
	tb.check(t, "every member's lease deleted by hand", s, handover)
	m.once(t)
	b.serviceStranger(t, tb)
}

// many is a bed with many Services.
type many struct {
	*bed
	addrs  []netip.Addr
	moving []netip.Addr // some of those that a node had which went last: it is to have them again when it comes
}

// create creates the Services.
func (m *many) create(t *testing.T) {
	t.Helper()
	errs := make(chan error, len(m.addrs))
	limit := make(chan struct{}, 16)
	c := client(t, m.Nodes()[0])
	for i, addr := range m.addrs {
		go func() {
			limit <- struct{}{}
			_, err := c.CoreV1().Services("default").Create(t.Context(), serviceWith(fmt.Sprintf("many-%d", i), addr), metav1.CreateOptions{})
			<-limit
			errs <- err
		}()
	}
	for range m.addrs {
		require.NoError(t, <-errs)
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

// answered waits until every address is answered for by a node other than not.
func (m *many) answered(t *testing.T, not *controlplane.Node, since time.Time, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	require.NoError(t, m.awaitAnswers(ctx, not, since))
}

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
	began := time.Now()
	m.moving = m.heldBy(t, n)
	s := m.suffer(t, m.moving, do, func(ctx context.Context) error { return m.awaitAnswers(ctx, n, began) })
	tb.check(t, fault, s, most)
}

// comes plays the return of a node, which takes its share of the addresses back.
func (m *many) comes(t *testing.T, tb *table, fault string, n *controlplane.Node, do func() error) {
	t.Helper()
	s := m.suffer(t, m.moving, do, after(leaseDuration+retryPeriod))
	tb.check(t, fault, s, handover)
	if has := require.Value(n.Addrs("eth0"))(t); len(has) < manyServices/6 {
		t.Errorf("%s has only %d addresses again", n.Name(), len(has))
	}
}

// suffer plays a fault, watches all addresses until over and a second on, and has a client ask for some of them.
func (m *many) suffer(t *testing.T, some []netip.Addr, do func() error, over func(context.Context) error) seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	s, end := m.ask(ctx, t, some, do, over)
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
		s.silence, s.describe = silence.Longest, fmt.Sprintf("by the observer, %s since %s:\n%s", addr, s.began.Format("15:04:05.000"), around(history.Answers(), silence.From))
	}
	if overlap := observer.Overlap(addr, s.began, end, askingMany*5/2); overlap > s.overlap {
		s.overlap, s.turns = overlap, addr.String()+"\n"+history.Turns().String()
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

func (m *many) deleteLeases(t *testing.T) error {
	leases := client(t, m.Nodes()[0]).CoordinationV1().Leases("kube-system")
	var errs []error
	for _, n := range m.Nodes() {
		errs = append(errs, leases.Delete(t.Context(), "kube-vip-member-services-"+n.Name(), metav1.DeleteOptions{}))
	}
	return errors.Join(errs...)
}

// serviceStranger has a stranger use the address of a Service, before it is taken and after.
func (b *bed) serviceStranger(t *testing.T, tb *table) {
	addr := b.LAN.Addr(150)
	prefix := netip.PrefixFrom(addr, 32)
	observer := b.LAN.Observer()
	stop := require.Value(observer.Ask(addr, asking))(t)
	defer stop()
	require.NoError(t, b.stranger.AddAddr(prefix, "eth0"))
	began := time.Now()
	api := client(t, b.Nodes()[0]).CoreV1().Services("default")
	require.Value(api.Create(t.Context(), serviceWith("strange", addr), metav1.CreateOptions{}))(t)
	b.awaitEvent(t, b.Nodes()[0], "default", "strange", "AddressTrouble", "is used by "+b.stranger.MAC().String())
	if who := observer.Answers(addr, began).Hosts(); len(who) != 1 {
		t.Errorf("taken from somebody who uses it: %q answered", who)
	}
	require.NoError(t, b.stranger.DelAddr(prefix, "eth0"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	left := time.Now()
	got := require.Value(observer.Wait(ctx, addr, left, nil))(t)
	// A probe that found somebody is made again after ever longer, 10 s at most.
	if took := got.At.Sub(left); took > 10*time.Second+slack {
		t.Errorf("held %v after the stranger left", took)
	}
	require.NoError(t, after(refresh)(ctx)) // its first announcements are over
	const stay = 12 * time.Second
	began = time.Now()
	require.NoError(t, b.intrude(t, prefix, stay))
	gone := time.Now()
	b.awaitEvent(t, b.Nodes()[0], "default", "strange", "AddressTrouble", "also used by "+b.stranger.MAC().String())
	said := observer.History(addr, began).Between(began, gone).Of(netns.Announcement).By(got.Host)
	if most := 2*(int(stay/refresh)+1) + 2*2; len(said) > most {
		t.Errorf("a war: the holder announced it %d times, want at most %d:\n%s", len(said), most, said)
	}
	b.expectMetric(t, b.Node(got.Host), "daymark_agent_conflicts_total", 1, 1000)
	end := time.Now()
	silence := observer.Silence(addr, began, end)
	tb.check(t, "stranger uses a Service's address for 12 s, and claims it five times a second",
		seen{silence: silence.Longest, unasked: silence.Unasked, took: end.Sub(began), overlap: observer.Overlap(addr, began, end, 5*asking),
			turns: observer.History(addr, began).Turns().String()},
		bounds{silence: slack, overlap: stay + slack})
}
