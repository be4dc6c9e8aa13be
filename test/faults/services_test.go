package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	m := newMany(t, b, "many", manyServices, askingMany)
	nodes := b.Nodes()
	t.Run("SIGTERM", func(t *testing.T) {
		m.goes(t, tb, "SIGTERM of one node's agent", nodes[0], b.stopped(t, nodes[0]), handover)
		m.comes(t, tb, "that agent started again", nodes[0], func() error { b.start(t, nodes[0]); return nil })
	})
	t.Run("SIGKILL", func(t *testing.T) {
		m.goes(t, tb, "SIGKILL of one node's agent", nodes[1], b.agents[nodes[1].Name()].Kill, dies)
		m.comes(t, tb, "that agent started again", nodes[1], func() error { b.start(t, nodes[1]); return nil })
		m.labelled(t, nodes[1])
	})
	t.Run("drain", func(t *testing.T) {
		m.goes(t, tb, "node cordoned", nodes[2], func() error { return b.cordon(t, nodes[2], true) }, handover)
		s := m.suffer(t, m.moving, b.stopped(t, nodes[2]), after(retryPeriod))
		tb.check(t, "and drained: SIGTERM of its agent", s, handover)
		b.start(t, nodes[2])
		m.comes(t, tb, "agent started again, and node uncordoned", nodes[2], func() error { return b.cordon(t, nodes[2], false) })
	})
	t.Run("cable", func(t *testing.T) {
		m.goes(t, tb, "cable of one node cut", nodes[0], nodes[0].Cut, pulled)
		m.comes(t, tb, "and mended", nodes[0], nodes[0].Mend)
	})
	t.Run("SIGSTOP", func(t *testing.T) {
		agent := b.agents[nodes[1].Name()]
		m.goes(t, tb, "SIGSTOP of one node's agent", nodes[1], func() error { return agent.Signal(syscall.SIGSTOP) }, dies)
		m.comes(t, tb, "and SIGCONT", nodes[1], func() error { return agent.Signal(syscall.SIGCONT) })
	})
	t.Run("API", func(t *testing.T) {
		defer b.alive(t)
		var mend func(context.Context) error
		m.goes(t, tb, "API path of one node cut", nodes[2], func() (err error) {
			mend, err = b.blockAPI(t.Context(), nodes[2])
			return err
		}, cutOff)
		m.comes(t, tb, "and mended", nodes[2], func() error { return mend(t.Context()) })
	})
	t.Run("leases", func(t *testing.T) {
		s := m.suffer(t, m.heldBy(t, nodes[0]), func() error { return m.deleteLeases(t) }, after(leaseDuration+retryPeriod))
		tb.check(t, "every member's lease deleted by hand", s, handover)
		m.once(t)
	})
	t.Run("race", func(t *testing.T) { m.race(t, tb) })
	t.Run("stranger", func(t *testing.T) { b.serviceStranger(t, tb) })
}

// underOneLease are the faults of Services that one node holds together.
func (b *bed) underOneLease(t *testing.T, tb *table) {
	const few = 20
	tb.heading(fmt.Sprintf("%d Services under one lease (svc_election off), the worst of them", few))
	b.run(t, b.vips, "--services")
	m := newMany(t, b, "few", few, asking)
	for _, f := range []struct {
		name string
		hurt func(*controlplane.Node) (mend func() error, err error)
		most bounds
	}{
		{"SIGTERM of the holder", func(n *controlplane.Node) (func() error, error) {
			return func() error { b.start(t, n); return nil }, b.stopped(t, n)()
		}, handover},
		{"SIGKILL of the holder", func(n *controlplane.Node) (func() error, error) {
			return func() error { b.start(t, n); return nil }, b.agents[n.Name()].Kill()
		}, dies},
		{"holder's node cordoned", func(n *controlplane.Node) (func() error, error) {
			return func() error { return b.cordon(t, n, false) }, b.cordon(t, n, true)
		}, handover},
		{"API path of the holder cut", func(n *controlplane.Node) (func() error, error) {
			mend, err := b.blockAPI(t.Context(), n)
			return func() error { return mend(t.Context()) }, err
		}, cutOff},
	} {
		t.Run(f.name, func(t *testing.T) {
			m.pulse.calm(t)
			m.rest(t)
			holder := m.holder(t)
			var mend func() error
			m.goes(t, tb, f.name, holder, func() (err error) { mend, err = f.hurt(holder); return err }, f.most)
			if now := m.holder(t); now == holder {
				t.Errorf("%s has them still", now.Name())
			}
			require.NoError(t, mend())
			require.NoError(t, after(2*retryPeriod)(t.Context())) // the others know of it again
		})
	}
	b.alive(t)
	m.delete(t)
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
		seen{silence: silence.Longest, excused: silence.Excused, unasked: silence.Unasked, took: end.Sub(began), overlap: observer.Overlap(addr, began, end, 5*asking),
			turns: observer.History(addr, began).Turns().String()},
		bounds{silence: slack, overlap: stay + slack})
}
