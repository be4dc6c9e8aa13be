package main_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	vip "daymark/cmd/vip"
	"daymark/internal/bgp"
	"daymark/internal/election"
)

// bed is a host with one file and one link.
func bed(file string) vip.Host {
	return vip.Host{
		Name: func() (string, error) { return "Node-1", nil },
		ReadFile: func(path string) ([]byte, error) {
			if path == "vip.yaml" {
				return []byte(file), nil
			}
			return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
		},
		LinkUp: func(name string) (bool, error) {
			switch name {
			case "eth0", "eth2", "lo":
				return true, nil
			case "eth1":
				return false, nil
			}
			return false, errors.New("no such link")
		},
	}
}

// least is the least that an agent needs to be told.
func least(more ...string) []string {
	return append([]string{"vip_arp=true", "cp_enable=true", "address=192.0.2.10"}, more...)
}

func load(t *testing.T, src vip.Sources) vip.Loaded {
	t.Helper()
	got, err := vip.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func value(t *testing.T, l vip.Loaded, key string) vip.Value {
	t.Helper()
	for _, v := range l.Values {
		if v.Key == key {
			return v
		}
	}
	t.Fatalf("no value %s", key)
	return vip.Value{}
}

func TestLoadDefaults(t *testing.T) {
	c := load(t, vip.Sources{Environ: least(), Host: bed("")}).Config
	want := vip.Config{
		Mode:       vip.ModeARP,
		Node:       vip.Node{Name: "node-1"},
		Kubernetes: vip.Kubernetes{Namespace: "kube-system"},
		HTTP:       vip.HTTP{Metrics: ":2112"},
		Links:      vip.Links{Subnet: vip.Subnet{V4: 32, V6: 128}},
		ControlPlane: vip.ControlPlane{
			Enabled: true, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}, Port: 6443,
			Health: vip.HealthCheck{Period: 5 * time.Second, Timeout: 3 * time.Second, Failures: 3},
		},
		Election: vip.Election{
			Lease: vip.LeaseRef{Namespace: "kube-system", Name: "kube-vip-cp"}, Timing: election.DefaultTiming(),
		},
		Services: vip.Services{
			Lease: vip.LeaseRef{Namespace: "kube-system", Name: "kube-vip-services"},
			Class: vip.Class{Name: "kube-vip.io/kube-vip-class", Legacy: true},
		},
		ARP: vip.ARP{Refresh: 3 * time.Second},
		BGP: vip.BGP{Speaker: bgp.Config{
			ASN: bgp.DefaultASN, HoldTime: bgp.DefaultHoldTime, Keepalive: bgp.DefaultKeepalive, Drain: time.Second,
		}},
		RoutingTable: vip.RoutingTable{ID: 198, Type: 1, Protocol: 248},
		Balancer:     vip.Balancer{Port: 6443, Forward: "local", Check: 5 * time.Second},
		DNS:          vip.DNS{Mode: "first", DHCPAttempts: 3},
	}
	if d := cmp.Diff(want, c, ignoreSwitches(), cmp.Comparer(equalAddr)); d != "" {
		t.Error(d)
	}
}

func ignoreSwitches() cmp.Option {
	return cmpopts.IgnoreUnexported(vip.Config{}, vip.Election{}, vip.BGP{})
}

func equalAddr(a, b netip.Addr) bool { return a == b }

func TestStrongestSourceWins(t *testing.T) {
	const file = "vip_arpRate: 1000\n"
	for _, test := range []struct {
		name   string
		src    vip.Sources
		want   time.Duration
		source string
	}{
		{"default", vip.Sources{Environ: least()}, 3 * time.Second, "default"},
		{"file", vip.Sources{Environ: least("config_file=vip.yaml")}, time.Second, "file vip_arpRate"},
		{"environment", vip.Sources{Environ: least("config_file=vip.yaml", "vip_arpRate=2000")}, 2 * time.Second, "environment vip_arpRate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.src.Host = bed(file)
			got := load(t, test.src)
			if got.Config.ARP.Refresh != test.want {
				t.Errorf("refresh is %v, want %v", got.Config.ARP.Refresh, test.want)
			}
			if source := value(t, got, "vip_arpRate").Source; source != test.source {
				t.Errorf("source is %q, want %q", source, test.source)
			}
		})
	}
}

func TestFlagBeatsEnvironmentAndSaysSo(t *testing.T) {
	src := vip.Sources{
		Flags:   map[string]string{"INTERFACE": "eth2", "port": "6443"},
		Environ: least("vip_interface=eth0", "port=06443"), Host: bed(""),
	}
	got := load(t, src)
	if got.Config.Links.ControlPlane != "eth2" {
		t.Errorf("link is %q", got.Config.Links.ControlPlane)
	}
	want := []string{"vip_interface: flag and environment disagree; the flag is used: flag --interface=eth2, environment vip_interface=eth0"}
	if d := cmp.Diff(want, notices(got)); d != "" {
		t.Error(d)
	}
}

func notices(l vip.Loaded) []string {
	var out []string
	for _, n := range l.Notices {
		out = append(out, n.String())
	}
	return out
}

func TestNoticesForOldLaterAndUnknownNames(t *testing.T) {
	got := load(t, vip.Sources{Host: bed(""), Environ: []string{
		"vip_arp=true", "cp_enable=true", "vip_address=192.0.2.10", "vip_cidr=24", "vip_singlenode=true",
		"enable_service_security=true", "enable_endpoints=false", "vip_arprate=1000", "dhcp_mode=", "VIP_WEB_SERVICE_HOST=10.0.0.1",
	}})
	want := []string{
		"vip_arprate: unknown environment variable: did you mean vip_arpRate?",
		"vip_cidr: is old: use vip_subnet",
		"vip_address: is old: use address",
		"vip_singlenode: has no effect: remove it",
		"enable_service_security: has no effect in this version",
	}
	if d := cmp.Diff(want, notices(got)); d != "" {
		t.Error(d)
	}
	if got.Config.Links.Subnet.V4 != 24 {
		t.Errorf("vip_cidr isn't obeyed: %v", got.Config.Links.Subnet)
	}
	if source := value(t, got, "address").Source; source != "environment vip_address" {
		t.Errorf("source of address is %q", source)
	}
}

func TestNoticeOfASpreadWithoutAnElection(t *testing.T) {
	const notice = "per_service_election_on_demand: has no effect: without an election every node announces every Service: set vip_leaderelection, or svc_election"
	const bgp, table = "bgp_enable=1 bgp_as=65000 bgp_routerid=192.0.2.1 bgp_peers=192.0.2.2:65000", "vip_routingtable=1"
	for environ, want := range map[string][]string{
		bgp + " per_service_election_on_demand=1":                      {notice},
		table + " per_service_election_on_demand=1":                    {notice},
		bgp + " per_service_election_on_demand=1 vip_leaderelection=1": nil,
		bgp + " per_service_election_on_demand=1 svc_election=1":       nil,
		"vip_arp=1 per_service_election_on_demand=1":                   nil,
		bgp: nil,
	} {
		got := load(t, vip.Sources{Host: bed(""), Environ: append(strings.Fields(environ), "svc_enable=1")})
		if d := cmp.Diff(want, notices(got)); d != "" {
			t.Errorf("%s: %s", environ, d)
		}
	}
}

func TestPresentNameBeatsOldOne(t *testing.T) {
	got := load(t, vip.Sources{Host: bed(""), Environ: least("vip_address=192.0.2.99")})
	if a := got.Config.ControlPlane.Addresses; len(a) != 1 || a[0].String() != "192.0.2.10" {
		t.Errorf("address is %v", a)
	}
	if n := notices(got); len(n) != 2 {
		t.Errorf("notices: %q", n)
	}
}

func TestEveryWrongValueIsReported(t *testing.T) {
	_, err := vip.Load(vip.Sources{
		Flags: map[string]string{"interface": "eth9", "port": "70000"},
		Environ: []string{
			"vip_arp=yes please", "vip_arpRate=200", "address=192.0.2.300,::", "bgp_enable=true", "cp_enable=true",
			"bgp_peerpass=hunter2", "vip_leaseduration=3", "config_file=vip.yaml", "vip_wireguard=true",
		},
		Host: bed("svc_allowed_cidrs: [192.0.2.1/24, x]\nvip_loglevel: loud\n"),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`flag --interface`, `vip_interface="eth9" (flag --interface): no such link`,
		`flag --port="70000": not between 1 and 65535`,
		`environment vip_arp="yes please": neither true nor false`,
		`environment vip_arpRate="200": not between 500 and 3600000 (of milliseconds)`,
		`environment address="192.0.2.300,::"`,
		`"192.0.2.300" is neither an IP address nor a host name`,
		`vip_leaseduration="3" (environment vip_leaseduration), vip_renewdeadline="3" (default)`,
		`file svc_allowed_cidrs="192.0.2.1/24,x": "192.0.2.1/24": has host bits set; did you mean 192.0.2.0/24`,
		`file vip_loglevel="loud"`,
		`vip_wireguard="true" (environment vip_wireguard): not in this version; use vip_arp, bgp_enable or vip_routingtable`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret is shown:\n%v", err)
	}
	if strings.Contains(err.Error(), "needs an address") {
		t.Errorf("a wrong address is also called missing:\n%v", err)
	}
}

// A default that this machine gives and that is wrong names the setting to use instead.
func TestWrongDefaultNamesItsSetting(t *testing.T) {
	host := bed("")
	host.Name = func() (string, error) { return "Node_1", nil }
	_, err := vip.Load(vip.Sources{Environ: least(), Host: host})
	const want = `vip_nodename is not set, and default="node_1": not a name of a Kubernetes object`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// Two agents on one node must not take each other's addresses for their own.
func TestInstance(t *testing.T) {
	seen := map[string]string{}
	for name, env := range map[string][]string{
		"control plane": {"cp_enable=true", "address=192.0.2.1"},
		"services":      {"svc_enable=true"},
		"both":          {"cp_enable=true", "address=192.0.2.1", "svc_enable=true"},
		"another":       {"svc_enable=true", "instance_name=two"},
	} {
		loaded := load(t, vip.Sources{Environ: append(env, "vip_arp=true", "vip_interface=eth0"), Host: bed("")})
		instance := loaded.Config.Instance()
		if other, again := seen[instance]; again {
			t.Errorf("%s and %s are both %q", name, other, instance)
		}
		seen[instance] = name
	}
}
