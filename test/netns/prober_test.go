package netns_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/test/netns"
	"daymark/test/require"
)

func TestSummarize(t *testing.T) {
	const ms = time.Millisecond
	at := func(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * ms) }
	moments := func(ns ...int) (out []time.Time) {
		for _, n := range ns {
			out = append(out, at(n))
		}
		return out
	}
	// reached are answers that came 5 ms after each of the questions.
	reached := func(ns ...int) (out []netns.Reached) {
		for _, n := range ns {
			out = append(out, netns.Reached{Asked: at(n), At: at(n + 5), By: "a"})
		}
		return out
	}
	missed := func(ns ...int) (out []netns.Missed) {
		for _, at := range moments(ns...) {
			out = append(out, netns.Missed{Asked: at, Why: "timeout"})
		}
		return out
	}
	late := append(reached(0, 10), netns.Reached{Asked: at(40), At: at(95), By: "b"})
	a, both := []string{"a"}, []string{"a", "b"}
	for name, c := range map[string]struct {
		record netns.Record
		until  int
		want   netns.Outage
	}{
		"nobody asked":          {netns.Record{Every: 10 * ms}, 40, netns.Outage{From: at(0), Unasked: 40 * ms}},
		"nobody answered":       {netns.Record{Every: 10 * ms, Lost: missed(0, 10, 20)}, 30, netns.Outage{Lost: 3, Longest: 30 * ms, From: at(0), Missed: missed(0, 10, 20)}},
		"some lost":             {netns.Record{Answers: late, Lost: missed(20, 30, 200)}, 100, netns.Outage{Answered: 3, Lost: 2, Longest: 80 * ms, From: at(15), By: both, Missed: missed(20, 30)}},
		"up to a late answer":   {netns.Record{Answers: late, Lost: missed(20, 30, 200)}, 90, netns.Outage{Answered: 2, Lost: 2, Longest: 75 * ms, From: at(15), By: a, Missed: missed(20, 30)}},
		"after the last answer": {netns.Record{Answers: late, Lost: missed(20, 30, 200)}, 195, netns.Outage{Answered: 3, Lost: 2, Longest: 100 * ms, From: at(95), By: both, Missed: missed(20, 30)}},
		"asked in time": {netns.Record{Every: 10 * ms, Answers: reached(0, 30, 60, 90)}, 100,
			netns.Outage{Answered: 4, Longest: 30 * ms, From: at(5), By: a}},
		"nobody asked for a while": {netns.Record{Every: 10 * ms, Answers: reached(0, 10, 500, 510)}, 520,
			netns.Outage{Answered: 4, Longest: 10 * ms, From: at(5), Unasked: 480 * ms, By: a}},
		"what is asked and lost is asked": {netns.Record{Every: 100 * ms, Answers: reached(0, 500), Lost: missed(100, 200), Open: moments(300, 400)}, 520,
			netns.Outage{Answered: 2, Lost: 2, Longest: 500 * ms, From: at(5), By: a, Missed: missed(100, 200)}},
		"an outage goes on where nobody asked in the midst of it": {netns.Record{Every: 10 * ms, Answers: reached(0, 10, 530), Lost: missed(20, 30, 500, 510, 520)}, 540,
			netns.Outage{Answered: 3, Lost: 5, Longest: 60 * ms, From: at(15), Excused: 460 * ms, Unasked: 460 * ms, By: a, Missed: missed(20, 30, 500, 510, 520)}},
		"nobody asked at the end": {netns.Record{Every: 10 * ms, Answers: reached(0, 10)}, 100,
			netns.Outage{Answered: 2, Longest: 10 * ms, From: at(5), Unasked: 80 * ms, By: a}},
		"overtaken by a second": {netns.Record{Every: 1000 * ms, Answers: reached(0, 2000), Open: moments(1000, 1001, 3000)}, 4000,
			netns.Outage{Answered: 2, Lost: 1, Longest: 2000 * ms, From: at(5), By: a, Missed: []netns.Missed{{Asked: at(1000)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.record.Summarize(at(0), at(c.until))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLateIsNotLost asks somebody who answers more than a second later.
func TestLateIsNotLost(t *testing.T) {
	lab, _ := netns.Lan(t, "a", "b")
	a := lab.Host("a")
	conn := require.Value(a.ListenPacket("udp", netip.AddrPortFrom(a.Addr(), 7).String()))(t)
	defer conn.Close()
	const patience = 1200 * time.Millisecond
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			time.AfterFunc(patience, func() { _, _ = conn.WriteTo([]byte("a"), from) })
		}
	}()
	p := netns.StartProber(netns.Probe{From: lab.Host("b"), Network: "udp", To: netip.AddrPortFrom(a.Addr(), 7), Timeout: 5 * time.Second})
	defer p.Stop()
	began := time.Now()
	end := began.Add(100 * time.Millisecond)
	wait(t, 200*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.Settle(ctx, end))
	if took := time.Since(end); took < patience/2 {
		t.Errorf("settled after %v, before there was an answer", took)
	}
	if out := p.Report(began, time.Now()); out.Lost > 0 || out.Answered == 0 {
		t.Errorf("%s", out)
	}
}

// TestNobodyAskedIsNoOutage stops the client, the observer and who answers, all of this process, for a second, while two hosts'
// kernels have an address.
func TestNobodyAskedIsNoOutage(t *testing.T) {
	lab, lan := netns.Lan(t, "a", "b", "c")
	vip, o := lan.Addr(100), lan.Observer()
	for _, name := range []string{"a", "b"} {
		h := lab.Host(name)
		stop := require.Value(h.Echo("udp", "[::]:7"))(t)
		defer func() { require.NoError(t, stop()) }()
		require.NoError(t, h.AddAddr(netip.PrefixFrom(vip, 32), "eth0"))
	}
	const period, away = 20 * time.Millisecond, time.Second
	stop := require.Value(o.Ask(vip, period))(t)
	defer stop()
	p := netns.StartProber(netns.Probe{From: lab.Host("c"), Network: "udp", To: netip.AddrPortFrom(vip, 7), Timeout: 5 * time.Second})
	defer p.Stop()
	require.Value(p.Wait(t.Context(), time.Now(), nil))(t)
	began := time.Now()
	wait(t, 200*time.Millisecond)
	freeze := fmt.Sprintf("kill -STOP %d; sleep %.1f; kill -CONT %[1]d", os.Getpid(), away.Seconds())
	require.NoError(t, exec.Command("sh", "-c", freeze).Run())
	wait(t, 200*time.Millisecond)
	end := time.Now()
	require.Value(p.Wait(t.Context(), end, nil))(t)
	require.NoError(t, p.Settle(t.Context(), end))

	out := p.Report(began, end)
	if out.Longest > away/2 || out.Unasked < away/2 || out.Lost > 0 {
		t.Errorf("the client says: %s", out)
	}
	if s := o.Silence(vip, began, end); s.Longest > away/2 || s.Unasked < away/2 {
		t.Errorf("the observer says: silent for %v, and nobody asked for %v", s.Longest, s.Unasked)
	}
	if raw := o.History(vip, began).LongestSilence(began, end); raw < away/2 {
		t.Errorf("silent for %v only: the observer was not stopped", raw)
	}
	// Both answered all the time, and are not to be taken for answering less.
	if others := o.OverlapOf("nobody", vip, began, end, 5*period); others != 0 {
		t.Errorf("an overlap of %v is said to be of a host that never answered", others)
	}
	if both := o.Overlap(vip, began, end, 5*period); both < away {
		t.Errorf("both answered for %v, want all the %v", both, end.Sub(began))
	}
}
