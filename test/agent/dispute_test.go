package agent_test

import (
	"bufio"
	"context"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// A member says again and again that it has the VIP and a Service's address, as one would whose agent went mad: the leases say that they
// are the holders', which keep them, defend them without a war, and tell users.
func TestAnotherMembersClaimIsSettledByTheLease(t *testing.T) {
	b := newBed(t, "n1", "n2")
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	vip, web := b.lan.Addr(201), b.lan.Addr(100)
	// Renewals in turn are 40 s apart and refreshes an hour, so what settles a claim within bound, and is announced, is what was asked for
	// because of it. That takes as long as etcd and the watch take for a few writes on a machine that does other things too.
	const bound = 10 * time.Second
	for _, n := range b.nodes {
		b.agent(n, "svc_enable=true", "cp_enable=true", "address="+vip.String(), "vip_arpRate=3600000",
			"vip_leaseduration=120", "vip_renewdeadline=80", "vip_retryperiod=40")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	b.service("web", web, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	type side struct{ holder, other *controlplane.Node }
	sides := map[netip.Addr]side{}
	for _, a := range []netip.Addr{vip, web} {
		answer := require.Value(b.lan.Observer().Wait(ctx, a, time.Time{}, nil))(t)
		other := map[string]string{"n1": "n2", "n2": "n1"}[answer.Host]
		sides[a] = side{b.cluster.Node(answer.Host), b.cluster.Node(other)}
	}
	require.NoError(t, after(ctx, 3500*time.Millisecond)) // their first announcements are over
	if settled := b.sum(`daymark_agent_disputes_total{verdict="confirmed"}`) + b.sum("daymark_l2_defences_total"); settled > 0 {
		t.Fatalf("%v claims were settled or answered before there was one", settled)
	}

	const every, stay = 250 * time.Millisecond, 4 * time.Second
	began := time.Now()
	for range stay / every {
		for a, s := range sides {
			require.NoError(t, s.other.Host.Claim(a))
		}
		require.NoError(t, after(ctx, every))
	}
	took := time.Since(began)
	// Each defends its address once in 10 s, and only when the lease has confirmed it.
	until(t, bound-stay, "each address is defended", func() bool { return b.sum("daymark_l2_defences_total") >= 2 })
	defences := b.sum("daymark_l2_defences_total")
	if most := 2 * (1 + math.Floor(took.Seconds()/10)); defences > most {
		t.Errorf("%v defences in %v, want %v", defences, took, most)
	}
	for a, s := range sides {
		if !require.Value(s.holder.Host.Has(a))(t) || require.Value(s.other.Host.Has(a))(t) {
			t.Errorf("%s is not on %s alone", a, s.holder.Name())
		}
		require.Value(b.lan.Observer().Wait(ctx, a, began, func(f netns.Answer) bool {
			return f.Kind == netns.Announcement && f.Host == s.holder.Name()
		}))(t)
		// A defence is two frames, and so is the last of the first announcements if it was late.
		if said := b.lan.Observer().History(a, began).Of(netns.Announcement).By(s.holder.Name()); len(said) > 2*int(defences) {
			t.Errorf("the holder announced %s %d times with %v defences of two addresses:\n%s", a, len(said), defences, said)
		}
		b.trouble(ctx, a.String()+" is also used by node "+s.other.Name())
	}
	confirmed := b.sum(`daymark_agent_disputes_total{verdict="confirmed"}`)
	lost, strangers := b.sum(`daymark_agent_disputes_total{verdict="lost"}`), b.sum("daymark_agent_conflicts_total")
	// What is heard is news once a second for each address.
	if most := 2 * (took.Seconds() + 1); confirmed < 4 || confirmed > most || lost > 0 || strangers > 0 {
		t.Errorf("%v claims were refuted by the leases in %v, %v lost, %v taken for strangers'; want 4 to %.1f, 0, 0", confirmed, took, lost, strangers, most)
	}
}

// sum returns the sum of a metric of all nodes' agents.
func (b *bed) sum(name string) (sum float64) {
	b.t.Helper()
	for _, n := range b.nodes {
		sum += metric(b.t, n, name)
	}
	return sum
}

// trouble waits for an Event with a text in it.
func (b *bed) trouble(ctx context.Context, text string) {
	b.t.Helper()
	for {
		for _, e := range require.Value(b.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{}))(b.t).Items {
			if e.Reason == "AddressTrouble" && strings.Contains(e.Message, text) {
				return
			}
		}
		if after(ctx, 100*time.Millisecond) != nil {
			b.t.Fatalf("no Event says %q", text)
		}
	}
}

// metric returns the value of a metric of a node's agent, 0 where there is none.
func metric(t *testing.T, n *controlplane.Node, name string) float64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response := require.Value(client.Get("http://127.0.0.1:2112/metrics"))(t)
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return require.Value(strconv.ParseFloat(text, 64))(t)
		}
	}
	return 0
}

// after waits for d, or fails when ctx ends before.
func after(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
