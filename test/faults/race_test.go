package faults_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// startAll starts the agents of all nodes at the same moment.
func (b *bed) startAll(t *testing.T) error {
	t.Helper()
	manifests := map[*controlplane.Node][]byte{}
	for _, n := range b.Nodes() {
		manifests[n] = b.manifest(t, n)
	}
	type started struct {
		node  *controlplane.Node
		agent *netns.Command
		err   error
	}
	all := make(chan started)
	for n, manifest := range manifests {
		go func() {
			agent, err := n.RunManifest(manifest, controlplane.Run{Program: b.program, Env: b.env})
			all <- started{n, agent, err}
		}()
	}
	var errs []error
	for range manifests {
		s := <-all
		b.agents[s.node.Name()] = s.agent
		errs = append(errs, s.err)
	}
	return errors.Join(errs...)
}

// race has all agents start at once when nobody has the address.
func (b *bed) race(t *testing.T, tb *table) {
	b.stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	vip, observer := b.vips[0], b.LAN.Observer()
	for _, n := range b.Nodes() {
		require.NoError(t, n.WaitNoAddr(ctx, vip))
	}
	stop := require.Value(observer.Ask(vip, asking))(t)
	defer stop()
	began := time.Now()
	require.NoError(t, b.startAll(t))
	require.Value(observer.Wait(ctx, vip, began, nil))(t)
	require.NoError(t, after(leaseDuration+retryPeriod)(ctx))
	end := time.Now()
	silence, history := observer.Silence(vip, began, end), observer.History(vip, began).Between(began, end)
	tb.check(t, "three agents started at once, nobody had the address", seen{
		silence: silence.Longest, excused: silence.Excused, unasked: silence.Unasked, took: end.Sub(began), overlap: observer.Overlap(vip, began, end, 5*asking),
		turns: history.Turns().String(),
	}, bounds{silence: dead})
	if turns := history.Turns(); len(turns) != 1 {
		t.Errorf("%d nodes took it, one after the other:\n%s", len(turns), turns)
	}
	if has := b.holders(t, vip); len(has) != 1 {
		t.Errorf("%d nodes have it", len(has))
	}
}

// race has all agents start at once when nobody has any of the addresses.
func (m *many) race(t *testing.T, tb *table) {
	m.stop(t)
	m.gone(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := seen{began: time.Now(), moves: map[move]int{}}
	require.NoError(t, m.startAll(t))
	require.NoError(t, m.awaitAnswers(ctx, nil, s.began))
	require.NoError(t, after(leaseDuration+retryPeriod)(ctx))
	end := time.Now()
	s.took = end.Sub(s.began)
	for _, addr := range m.addrs {
		m.look(t, addr, end, &s)
	}
	// Who comes first holds what is there, and hands over to the next.
	tb.check(t, "three agents started at once, nobody had an address", s, bounds{silence: dead, overlap: handover.overlap})
	m.once(t)
}

// alive asserts that the agents are the processes that were started: none has ended, whatever the API server did.
func (b *bed) alive(t *testing.T) {
	t.Helper()
	for node, agent := range b.agents {
		select {
		case <-agent.Done():
			t.Errorf("the agent of %s has ended: %v", node, agent.Err())
		default:
		}
	}
}
