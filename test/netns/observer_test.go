package netns_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"daymark/test/netns"
	"daymark/test/require"
)

// TestObserverSeesWhoAnswers moves an address from one host to another and back,
// with a moment on both.
func TestObserverSeesWhoAnswers(t *testing.T) {
	lab, lan := netns.Lan(t, "a", "b")
	a, b, o := lab.Host("a"), lab.Host("b"), lan.Observer()
	for name, vip := range map[string]netip.Prefix{
		"IPv4": netip.PrefixFrom(lan.Addr(100), 32),
		"IPv6": netip.PrefixFrom(lan.Addr6(100), 128),
	} {
		t.Run(name, func(t *testing.T) {
			const period = 10 * time.Millisecond
			start := time.Now()
			stop := require.Value(o.Ask(vip.Addr(), period))(t)
			defer stop()
			wait(t, 300*time.Millisecond)
			require.NoError(t, a.AddAddr(vip, "eth0"))
			first := require.Value(o.Wait(t.Context(), vip.Addr(), start, nil))(t)
			if first.Host != "a" || first.Kind != netns.Reply || first.MAC.String() != a.MAC().String() {
				t.Errorf("first answer: %s", first)
			}
			if got := o.History(vip.Addr(), start).LongestSilence(start, time.Now()); got < 300*time.Millisecond {
				t.Errorf("longest silence %s, want 300 ms and more before the address was there", got)
			}
			require.NoError(t, b.AddAddr(vip, "eth0"))
			require.Value(o.Wait(t.Context(), vip.Addr(), start, netns.FromHost("b")))(t)
			wait(t, 300*time.Millisecond)
			require.NoError(t, a.DelAddr(vip, "eth0"))
			gone := time.Now()
			wait(t, 200*time.Millisecond)
			seen := o.History(vip.Addr(), start)
			if got := seen.LongestOverlap(25 * period); got < 200*time.Millisecond || got > gone.Sub(start) {
				t.Errorf("longest overlap %s, want about 300 ms", got)
			}
			if diff := cmp.Diff([]string{"a", "b"}, seen.Hosts()); diff != "" {
				t.Error(diff)
			}
			if got := o.Answers(vip.Addr(), gone).Hosts(); !cmp.Equal(got, []string{"b"}) {
				t.Errorf("after a gave it up %q answered", got)
			}
			require.NoError(t, b.DelAddr(vip, "eth0"))
		})
	}
}

// TestObserverTellsAnnouncements has the kernel announce and detect.
func TestObserverTellsAnnouncements(t *testing.T) {
	lab, lan := netns.Lan(t, "a", "b") // b hears a's announcements, and is not to be taken for their source
	a, o, vip := lab.Host("a"), lan.Observer(), lan.Addr(100)
	require.NoError(t, a.AddAddr(netip.PrefixFrom(vip, 32), "eth0"))
	// arp_notify: the kernel announces when the link comes up.
	require.NoError(t, a.Sysctl("net.ipv4.conf.eth0.arp_notify=1"))
	link := require.Value(a.Netlink().LinkByName("eth0"))(t)
	since := time.Now()
	require.NoError(t, a.Netlink().LinkSetDown(link))
	require.NoError(t, a.Netlink().LinkSetUp(link))
	announced := require.Value(o.Wait(t.Context(), vip, since, nil))(t)
	if announced.Kind != netns.Announcement || announced.ARPReply {
		t.Errorf("got %s, reply form %t; want an announcement in request form", announced, announced.ARPReply)
	}
	free := lan.Addr6(101)
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: free.AsSlice(), Mask: net.CIDRMask(64, 128)}}
	require.NoError(t, a.Netlink().AddrAdd(link, addr))
	require.Value(o.Wait(t.Context(), free, since, func(f netns.Answer) bool { return f.Kind == netns.Detection }))(t)
	for _, addr := range []netip.Addr{vip, free} {
		if got := o.History(addr, since); len(got.By("a")) != len(got) {
			t.Errorf("frames by others than a:\n%s", got)
		}
	}
}

// TestClaim has a host say that it has addresses that it has not.
func TestClaim(t *testing.T) {
	lab, lan := netns.Lan(t, "a", "b")
	for _, addr := range []netip.Addr{lan.Addr(100), lan.Addr6(100)} {
		require.NoError(t, lab.Host("a").Claim(addr))
		said := require.Value(lan.Observer().Wait(t.Context(), addr, time.Time{}, nil))(t)
		if said.Kind != netns.Announcement || said.Host != "a" || said.MAC.String() != lab.Host("a").MAC().String() {
			t.Errorf("got %s", said)
		}
	}
}

// TestEchoAnswersFromTheAddressAsked asks by datagrams through an address that is not the host's first.
func TestEchoAnswersFromTheAddressAsked(t *testing.T) {
	lab, lan := netns.Lan(t, "a", "b")
	a := lab.Host("a")
	stop := require.Value(a.Echo("udp", "[::]:7"))(t)
	defer func() { require.NoError(t, stop()) }()
	for _, addr := range []netip.Addr{lan.Addr(100), lan.Addr6(100)} {
		require.NoError(t, a.Sysctl("net.ipv6.conf.eth0.accept_dad=0"))
		require.NoError(t, a.AddAddr(netip.PrefixFrom(addr, addr.BitLen()), "eth0"))
		p := netns.StartProber(netns.Probe{From: lab.Host("b"), Network: "udp", To: netip.AddrPortFrom(addr, 7)})
		got := require.Value(p.Wait(t.Context(), time.Time{}, nil))(t)
		if got.By != "a" {
			t.Errorf("answered by %q", got.By)
		}
		p.Stop()
	}
}

func TestHistory(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	answer := func(ms int, host string) netns.Answer {
		return netns.Answer{At: at(ms), Host: host, Kind: netns.Reply}
	}
	says := func(ms int, host string) netns.Answer {
		return netns.Answer{At: at(ms), Host: host, Kind: netns.Announcement}
	}
	for name, c := range map[string]struct {
		history netns.History
		silence time.Duration // from 0 to 100
		overlap time.Duration // tolerance 20
		turns   []string
	}{
		"nobody":      {silence: 100 * time.Millisecond},
		"one":         {netns.History{answer(10, "a"), answer(20, "a"), answer(90, "a")}, 70 * time.Millisecond, 0, []string{"a"}},
		"one by one":  {netns.History{answer(10, "a"), answer(30, "a"), answer(40, "b"), answer(50, "b")}, 50 * time.Millisecond, 0, []string{"a", "b"}},
		"both":        {netns.History{answer(10, "a"), answer(20, "b"), answer(30, "a"), answer(40, "b"), answer(50, "a")}, 50 * time.Millisecond, 30 * time.Millisecond, []string{"a", "b", "a", "b", "a"}},
		"handed over": {netns.History{answer(10, "a"), answer(30, "a"), answer(35, "b"), answer(50, "a"), answer(55, "b"), answer(75, "b")}, 25 * time.Millisecond, 15 * time.Millisecond, []string{"a", "b", "a", "b"}},
		"one word":    {netns.History{answer(10, "a"), answer(30, "a"), answer(45, "b"), answer(50, "a"), answer(65, "a")}, 35 * time.Millisecond, 20 * time.Millisecond, []string{"a", "b", "a"}},
		"taken back":  {netns.History{answer(10, "a"), answer(25, "a"), says(35, "b"), answer(38, "a"), answer(40, "b"), says(45, "a"), answer(48, "b"), answer(65, "a")}, 35 * time.Millisecond, 3 * time.Millisecond, []string{"a", "b", "a", "b", "a", "b", "a"}},
		"defended":    {netns.History{answer(10, "a"), answer(25, "a"), says(35, "b"), says(40, "a"), answer(50, "a"), answer(65, "a")}, 35 * time.Millisecond, 25 * time.Millisecond, []string{"a", "b", "a"}},
		"and back":    {netns.History{answer(10, "a"), answer(50, "b"), answer(55, "b"), answer(90, "a")}, 40 * time.Millisecond, 0, []string{"a", "b", "a"}},
		"only a sign": {netns.History{{At: at(50), Host: "a", Kind: netns.Detection}}, 100 * time.Millisecond, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.history.LongestSilence(at(0), at(100)); got != c.silence {
				t.Errorf("silence %s, want %s", got, c.silence)
			}
			if got := c.history.LongestOverlap(20 * time.Millisecond); got != c.overlap {
				t.Errorf("overlap %s, want %s", got, c.overlap)
			}
			before := c.history.Answers().Between(at(0), at(50))
			if last, ok := c.history.Last(at(50)); ok != (len(before) > 0) || ok && last.At != before[len(before)-1].At {
				t.Errorf("the last before 50 is %s (%t), of:\n%s", last, ok, before)
			}
			if got := c.history.After("a").Turns(); len(got) != max(0, len(c.turns)-1) {
				t.Errorf("who came after a:\n%s", got)
			}
			var turns []string
			for _, a := range c.history.Turns() {
				turns = append(turns, a.Host)
			}
			if diff := cmp.Diff(c.turns, turns); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnfounded has b announce an address while a answers for it, who has it or had it until then.
func TestUnfounded(t *testing.T) {
	asker, other := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	say := func(kind netns.Kind, host string, to net.HardwareAddr) netns.Answer {
		return netns.Answer{Kind: kind, Host: host, To: to}
	}
	said := say(netns.Announcement, "b", nil)
	a, b, toOther := say(netns.Reply, "a", asker), say(netns.Reply, "b", asker), say(netns.Reply, "a", other)
	for name, c := range map[string]struct {
		history   netns.History
		unfounded bool
	}{
		"never":                      {netns.History{a, a, b}, false},
		"without it":                 {netns.History{a, said, a, a, b}, true},
		"taken over":                 {netns.History{a, said, b, b}, false},
		"handed over":                {netns.History{a, said, a, b, a, b, b}, false},
		"handed over, one was asked": {netns.History{a, said, toOther, a, b, b}, false},
		"hardly asked":               {netns.History{a, said, a}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.history.Unfounded("b", asker); (got != nil) != c.unfounded {
				t.Errorf("got %s", got)
			}
		})
	}
}
