package bgp_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

const frrPrograms = "/usr/lib/frr"

// frr is an FRR router on a host.
type frr struct {
	t    *testing.T
	host *netns.Host
	dir  string
}

// startFRR runs zebra, bgpd and bfdd with one configuration.
func startFRR(t *testing.T, host *netns.Host, config string) *frr {
	t.Helper()
	if _, err := os.Stat(frrPrograms + "/bgpd"); err != nil {
		require.Missing(t, "frr is not installed: `make test-deps` installs it")
	}
	f := &frr{t: t, host: host, dir: filepath.Join(os.TempDir(), "frr-"+host.Name())}
	require.NoError(t, os.MkdirAll(f.dir, 0o777))
	require.NoError(t, os.Chmod(f.dir, 0o777))
	require.NoError(t, host.Forward())
	// FRR takes its user only if that is in the group of its terminals.
	require.NoError(t, host.WriteFile("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\n")))
	require.NoError(t, host.WriteFile("/etc/group", []byte("root:x:0:\nfrrvty:x:0:root\n")))
	file := filepath.Join(f.dir, "frr.conf")
	require.NoError(t, os.WriteFile(file, []byte("frr defaults datacenter\n"+config), 0o666))
	for _, daemon := range []string{"zebra", "bfdd", "bgpd"} {
		args := []string{
			frrPrograms + "/" + daemon, "-f", file, "-i", filepath.Join(f.dir, daemon+".pid"), "-z", filepath.Join(f.dir, "zserv.api"),
			"--vty_socket", f.dir, "-u", "root", "-g", "root", "-A", "127.0.0.1", "--log", "stdout",
		}
		if daemon == "bfdd" {
			args = append(args, "--bfdctl", filepath.Join(f.dir, "bfdd.sock"))
		}
		require.NoError(t, host.Command(args...).Start())
		f.waitFor(daemon)
	}
	return f
}

func (f *frr) waitFor(daemon string) {
	f.t.Helper()
	eventually(f.t, 10*time.Second, daemon+" answers", func() bool {
		_, err := os.Stat(filepath.Join(f.dir, daemon+".vty"))
		return err == nil
	})
}

func (f *frr) vtysh(commands ...string) string {
	f.t.Helper()
	args := []string{"vtysh", "--vty_socket", f.dir}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := f.host.Run(f.t.Context(), args...)
	require.NoError(f.t, err)
	return string(out)
}

// frrPath is one path of a prefix in FRR's table.
type frrPath struct {
	Valid     bool
	Multipath bool
	Bestpath  any
	Metric    *uint32
	LocPrf    *uint32
	Path      string
	Stale     bool
	Community struct{ String string }
	Large     struct{ String string } `json:"largeCommunity"`
	Nexthops  []struct {
		IP    string `json:"ip"`
		Used  bool
		Scope string
	}
	Peer struct{ PeerId string }
}

// paths returns FRR's paths of a prefix.
func (f *frr) paths(prefix string) []frrPath {
	f.t.Helper()
	var out struct{ Paths []frrPath }
	require.NoError(f.t, json.Unmarshal([]byte(f.vtysh(fmt.Sprintf("show bgp %s unicast %s json", afi(prefix), prefix))), &out))
	return out.Paths
}

func afi(prefix string) string {
	if strings.Contains(prefix, ":") {
		return "ipv6"
	}
	return "ipv4"
}

// prefixes returns every prefix of a family in FRR's table.
func (f *frr) prefixes(family string) []string {
	f.t.Helper()
	var out struct{ Routes map[string]any }
	text := f.vtysh(fmt.Sprintf("show bgp %s unicast json", family))
	if !strings.Contains(text, "{") {
		return nil
	}
	require.NoError(f.t, json.Unmarshal([]byte(text), &out))
	return slices.SortedFunc(maps.Keys(out.Routes), func(a, b string) int {
		return netip.MustParsePrefix(a).Addr().Compare(netip.MustParsePrefix(b).Addr())
	})
}

// has waits until FRR's table of a family is exactly this.
func (f *frr) has(within time.Duration, family string, want ...string) {
	f.t.Helper()
	var got []string
	defer func() {
		if f.t.Failed() {
			f.t.Logf("FRR has %q, want %q", got, want)
		}
	}()
	eventually(f.t, within, fmt.Sprintf("FRR has %q", want), func() bool {
		got = f.prefixes(family)
		return slices.Equal(got, want)
	})
}
