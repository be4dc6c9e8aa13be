package faults_test

import (
	"bufio"
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// strangeFaults are what others do, and what is preserved.
func (b *bed) strangeFaults(t *testing.T, tb *table) {
	vip := netip.PrefixFrom(b.vips[0], b.vips[0].BitLen())
	t.Run("a stranger uses the address", func(t *testing.T) {
		holder := b.settle(t)
		const stay = 12 * time.Second
		s := b.suffer(t, func() error { return b.intrude(t, vip, stay) }, b.held)
		// While it is there both answer, which nobody can prevent; then the next refresh calls the clients back.
		tb.check(t, "stranger uses the address for 12 s, and claims it five times a second", s, bounds{silence: stay + refresh + slack, overlap: stay + slack})
		if now := b.settle(t); now != holder {
			t.Errorf("the VIP went from %s to %s", holder.Name(), now.Name())
		}
		// A refresh and a defence are two frames each at most.
		said := b.LAN.Observer().History(vip.Addr(), s.began).Between(s.began, s.began.Add(stay)).Of(netns.Announcement).By(holder.Name())
		if most := 2*(int(stay/refresh)+1) + 2*2; len(said) > most {
			t.Errorf("a war: the holder announced it %d times, want at most %d:\n%s", len(said), most, said)
		}
		b.expectMetric(t, holder, "daymark_l2_defences_total", 1, 2)
		b.expectMetric(t, holder, "daymark_agent_conflicts_total", 1, 1000)
		b.awaitEvent(t, holder, "default", holder.Name(), "AddressTrouble", "also used by "+b.stranger.MAC().String())
	})
	t.Run("a stranger has the address before us", func(t *testing.T) {
		b.stop(t)
		require.NoError(t, b.stranger.AddAddr(vip, "eth0"))
		began := time.Now()
		for _, n := range b.Nodes() {
			b.start(t, n)
		}
		require.NoError(t, after(leaseDuration)(t.Context()))
		for _, n := range b.Nodes() {
			if said := b.LAN.Observer().Answers(vip.Addr(), began).By(n.Name()); len(said) > 0 || len(b.holders(t, vip.Addr())) > 0 {
				t.Errorf("%s took an address that somebody uses: %s", n.Name(), said)
			}
		}
		why := "is used by " + b.stranger.MAC().String()
		shown := false
		for _, n := range b.Nodes() {
			out, _ := n.Run(t.Context(), b.program, "status") // one that is not ready ends with an error
			shown = shown || strings.Contains(string(out), why)
		}
		if !shown {
			t.Errorf("no agent's status says %q", why)
		}
		b.awaitEvent(t, b.Nodes()[0], "default", "", "AddressTrouble", why)
		require.NoError(t, b.stranger.DelAddr(vip, "eth0"))
		left := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		got := require.Value(b.LAN.Observer().Wait(ctx, vip.Addr(), left, nil))(t)
		// A probe that found somebody is made again after ever longer, 10 s at most.
		if took := got.At.Sub(left); took > 10*time.Second+slack {
			t.Errorf("held %v after the stranger left", took)
		} else {
			t.Logf("held %v after the stranger left", took)
		}
	})
	b.preserved(t, tb)
}

// preserved plays what vip_preserve_on_leadership_loss is for: the address outlives the API server, and is no second one.
func (b *bed) preserved(t *testing.T, tb *table) {
	b.run(t, b.vips, "--preserveVipOnLeadershipLoss")
	t.Run("preserved, API path of all cut", func(t *testing.T) {
		b.settle(t)
		s := b.suffer(t, func() error { _, err := b.apiAway(t, 10*time.Second); return err }, b.held)
		// Who has the lease then may be another; the one that kept the address lets go when it hears it.
		tb.check(t, "API path of all cut for 10 s, address preserved", s, bounds{silence: slack, overlap: slack})
	})
	t.Run("preserved, API path of the holder cut", func(t *testing.T) {
		holder := b.settle(t)
		s := b.suffer(t, func() error { return b.cutAPI(t, holder) }, b.moved(holder))
		// It goes on answering until it hears the new holder.
		tb.check(t, "API path of the holder cut, address preserved", s, bounds{silence: slack, overlap: slack, taken: dead})
		b.alive(t)
	})
	t.Run("preserved, then killed", func(t *testing.T) {
		holder := b.settle(t)
		for _, n := range b.others(holder) {
			require.NoError(t, b.agents[n.Name()].Kill())
		}
		require.NoError(t, b.cutAPI(t, holder))
		require.NoError(t, after(leaseDuration)(t.Context()))
		if len(b.holders(t, b.vips[0])) != 1 {
			t.Error("the address is not preserved")
		}
		killed := time.Now()
		require.NoError(t, b.agents[holder.Name()].Kill())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, holder.WaitNoAddr(ctx, b.vips[0]))
		if kept := time.Since(killed); kept > 6*time.Second+slack {
			t.Errorf("the kernel of a killed agent kept the address for %v", kept)
		}
	})
}

// intrude gives the stranger the address for a while, and has it claim it five times a second.
func (b *bed) intrude(t *testing.T, vip netip.Prefix, stay time.Duration) error {
	if err := b.stranger.AddAddr(vip, "eth0"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), stay)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := b.stranger.Claim(vip.Addr()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return b.stranger.DelAddr(vip, "eth0")
		}
	}
}

// expectMetric asserts that a metric of a node's agent is between two values.
func (b *bed) expectMetric(t *testing.T, n *controlplane.Node, name string, least, most float64) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response := require.Value(client.Get("http://127.0.0.1:2112/metrics"))(t)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), name+" ")
		if !ok {
			continue
		}
		if v := require.Value(strconv.ParseFloat(text, 64))(t); v < least || v > most {
			t.Errorf("%s is %v, want %v to %v", name, v, least, most)
		}
		return
	}
	t.Errorf("no metric %s (%v)", name, lines.Err())
}

// awaitEvent waits for an Event about an object, any where its name is empty, whose text contains one.
func (b *bed) awaitEvent(t *testing.T, ask *controlplane.Node, namespace, object, reason, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	api := client(t, ask).CoreV1().Events(namespace)
	for {
		list := require.Value(api.List(t.Context(), metav1.ListOptions{}))(t)
		for _, e := range list.Items {
			if (object == "" || e.InvolvedObject.Name == object) && e.Reason == reason && strings.Contains(e.Message, text) {
				return
			}
		}
		if err := after(100 * time.Millisecond)(ctx); err != nil {
			t.Errorf("no Event %s about %q with %q", reason, object, text)
			return
		}
	}
}
