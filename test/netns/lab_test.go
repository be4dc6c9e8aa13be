package netns_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/test/netns"
	"daymark/test/require"
)

func TestHostsReachEachOther(t *testing.T) {
	lab, lan := netns.Lan(t, "a", "b")
	a, b := lab.Host("a"), lab.Host("b")
	for _, addr := range []netip.Addr{b.Addr(), b.Addr6()} {
		for _, network := range []string{"tcp", "udp", "http"} {
			to := netip.AddrPortFrom(addr, 7)
			require.Value(b.Echo(network, to.String()))(t)
			prober := netns.StartProber(netns.Probe{From: a, Network: network, To: to})
			got, err := prober.Wait(t.Context(), time.Time{}, nil)
			prober.Stop()
			require.NoError(t, err)
			if got.By != "b" {
				t.Errorf("%s to %s was answered by %q, want b", network, to, got.By)
			}
			if network == "tcp" { // http uses the port too
				break
			}
		}
	}
	want := []netip.Prefix{netip.MustParsePrefix("198.18.0.11/24"), netip.MustParsePrefix("fd00:18::b/64")}
	if diff := cmp.Diff(want, require.Value(b.Addrs())(t), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if got := lan.Addr(100); got.String() != "198.18.0.100" {
		t.Errorf("address 100 is %s", got)
	}
}

func TestHostHasNameAndEtcOfItsOwn(t *testing.T) {
	lab, _ := netns.Lan(t, "a", "b")
	name := require.Value(lab.Host("a").Run(t.Context(), "uname", "-n"))(t)
	if got := strings.TrimSpace(string(name)); got != "a" {
		t.Errorf("host name is %q", got)
	}
	const path = "/etc/daymark-bed/file"
	require.NoError(t, lab.Host("a").WriteFile(path, []byte("a's")))
	if got := string(require.Value(lab.Host("a").Run(t.Context(), "cat", path))(t)); got != "a's" {
		t.Errorf("the file reads %q", got)
	}
	if _, err := lab.Host("b").Run(t.Context(), "cat", path); err == nil {
		t.Error("another host sees the file")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the machine sees the file")
	}
}

func TestCutAndMend(t *testing.T) {
	lab, _ := netns.Lan(t, "server", "client")
	server, client := lab.Host("server"), lab.Host("client")
	to := netip.AddrPortFrom(server.Addr(), 7)
	require.Value(server.Echo("udp", to.String()))(t)
	prober := netns.StartProber(netns.Probe{From: client, Network: "udp", To: to, Timeout: 100 * time.Millisecond})
	defer prober.Stop()
	breaks := map[string]func() (func() error, error){
		"cable": func() (func() error, error) { return server.Mend, server.Cut() },
	}
	if _, err := server.Run(t.Context(), "nft", "list", "tables"); err == nil {
		breaks["silent"] = func() (func() error, error) {
			mend, err := server.Silence(t.Context())
			return func() error { return mend(t.Context()) }, err
		}
		breaks["path"] = func() (func() error, error) {
			mend, err := server.Block(t.Context(), netns.Path{Peer: netip.PrefixFrom(client.Addr(), 32), Protocol: "udp", Port: 7})
			return func() error { return mend(t.Context()) }, err
		}
	}
	for name, cut := range breaks {
		t.Run(name, func(t *testing.T) {
			since := time.Now()
			require.Value(prober.Wait(t.Context(), since, nil))(t)
			mend, err := cut()
			require.NoError(t, err)
			broken := time.Now()
			wait(t, 400*time.Millisecond)
			until := time.Now()
			require.NoError(t, mend())
			require.Value(prober.Wait(t.Context(), time.Now(), nil))(t)
			if got := prober.Report(broken, until); got.Answered > 1 || got.Longest < 300*time.Millisecond {
				t.Errorf("while broken: %s", got)
			}
		})
	}
}

func TestFrozenHostStillAnswersARP(t *testing.T) {
	lab, lan := netns.Lan(t, "a")
	a := lab.Host("a")
	c := a.Command("sleep", "1000")
	require.NoError(t, c.Start())
	require.NoError(t, a.Freeze())
	stop := require.Value(lan.Observer().Ask(a.Addr(), 10*time.Millisecond))(t)
	defer stop()
	require.Value(lan.Observer().Wait(t.Context(), a.Addr(), time.Now(), nil))(t)
	require.NoError(t, a.PowerOff())
	if c.Err() == nil {
		t.Error("the program ended well when its host lost power")
	}
	off := time.Now()
	wait(t, 200*time.Millisecond)
	if got := lan.Observer().Answers(a.Addr(), off); len(got) > 0 {
		t.Errorf("a host without power answered:\n%s", got)
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// TestPods has a client reach a pod on one node through another node.
func TestPods(t *testing.T) {
	lab, _ := netns.Lan(t, "node1", "node2", "client")
	node1, node2, client := lab.Host("node1"), lab.Host("node2"), lab.Host("client")
	addrs := []netip.Addr{netip.MustParseAddr("198.19.64.2"), netip.MustParseAddr("fd00:20::2")}
	pod := require.Value(lab.AddPod(node1, "pod1", addrs...))(t)
	require.NoError(t, node2.Forward())
	require.NoError(t, node2.AddRoute(netip.MustParsePrefix("198.19.64.0/24"), node1.Addr()))
	require.NoError(t, node2.AddRoute(netip.MustParsePrefix("fd00:20::/64"), node1.Addr6()))
	require.NoError(t, client.AddRoute(netip.MustParsePrefix("198.19.64.0/18"), node2.Addr()))
	require.NoError(t, client.AddRoute(netip.MustParsePrefix("fd00:20::/32"), node2.Addr6()))
	for _, addr := range []netip.Addr{pod.Addr(), pod.Addr6()} {
		to := netip.AddrPortFrom(addr, 80)
		require.Value(pod.Echo("http", to.String()))(t)
		prober := netns.StartProber(netns.Probe{From: client, Network: "http", To: to})
		got, err := prober.Wait(t.Context(), time.Time{}, nil)
		prober.Stop()
		require.NoError(t, err)
		if got.By != "pod1" {
			t.Errorf("%s was answered by %q", to, got.By)
		}
	}
}

func TestWaitAddr(t *testing.T) {
	lab, lan := netns.Lan(t, "a")
	a, vip := lab.Host("a"), netip.PrefixFrom(lan.Addr(100), 32)
	add := time.AfterFunc(50*time.Millisecond, func() { _ = a.AddAddr(vip, "eth0") })
	defer add.Stop()
	require.NoError(t, a.WaitAddr(t.Context(), vip.Addr()))
	remove := time.AfterFunc(50*time.Millisecond, func() { _ = a.DelAddr(vip, "eth0") })
	defer remove.Stop()
	require.NoError(t, a.WaitNoAddr(t.Context(), vip.Addr()))
	if has := require.Value(a.Has(vip.Addr()))(t); has {
		t.Error("the address is still there")
	}
}
