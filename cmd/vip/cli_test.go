package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	vip "daymark/cmd/vip"
)

func TestConfigPrint(t *testing.T) {
	environ := []string{"vip_arp=true", "cp_enable=true", "bgp_peerpass=hunter2", "vip_typo=1"}
	out, problems, err := execute(environ, "config", "print", "--ADDRESS=192.0.2.10", "--bgpPeers", "192.0.2.1:65000:hunter2")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"address", "192.0.2.10", "flag", "--address"}, {"vip_arp", "true", "environment", "vip_arp"}, {"port", "6443", "default"},
		{"bgp_peerpass", "****", "environment", "bgp_peerpass"}, {"bgp_peers", "192.0.2.1:65000:****", "flag", "--bgppeers"},
		{"vip_interface", "(link", "of", "the", "default", "route)", "default"},
	} {
		if !hasLine(out, want) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	if strings.Contains(out+problems, "hunter2") {
		t.Error("a secret is shown")
	}
	if want := "warning: vip_typo: unknown environment variable: did you mean vip_arp?\n"; problems != want {
		t.Errorf("stderr %q, want %q", problems, want)
	}
}

func hasLine(text string, fields []string) bool {
	for line := range strings.Lines(text) {
		if strings.Join(strings.Fields(line), " ") == strings.Join(fields, " ") {
			return true
		}
	}
	return false
}

func TestConfigPrintJSON(t *testing.T) {
	out, _, err := execute(least(), "config", "print", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct{ Key, Value, Source string }
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 60 || rows[0].Key != "vip_loglevel" || rows[0].Value != "0" || rows[0].Source != "default" {
		t.Errorf("%d rows, first %+v", len(rows), rows[0])
	}
}

// TestWrongConfigurationStartsNothing: every problem is in the error, which main turns into exit code 1.
func TestWrongConfigurationStartsNothing(t *testing.T) {
	for _, args := range [][]string{{"manager"}, {"config", "validate"}, {"config", "print"}, {"manifest", "pod"}} {
		_, _, err := execute([]string{"vip_arp=maybe", "bgp_as=0", "vip_leaseduration=1"}, args...)
		if err == nil {
			t.Fatalf("%q: no error", args)
		}
		for _, want := range []string{"vip_arp", "bgp_as", "vip_leaseduration", "nothing to do"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q doesn't name %s: %v", args, want, err)
			}
		}
	}
}

// TestRightsOfAFileThatIsMissing: what the rights are to be made from can't be read, so they aren't those for everything.
func TestRightsOfAFileThatIsMissing(t *testing.T) {
	out, _, err := execute(nil, "manifest", "rbac", "--config-file", "/nowhere/vip.yaml")
	if err == nil || !strings.Contains(err.Error(), "/nowhere/vip.yaml") || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStatusAsksWhereTheAgentListens(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	t.Cleanup(server.Close)
	at := server.Listener.Addr().String()
	_, port, _ := strings.Cut(at, ":")
	for name, test := range map[string]struct{ environ, args []string }{
		"named":               {[]string{"prometheus_server=:1"}, []string{"--from", at}},
		"by the environment":  {[]string{"prometheus_server=:" + port}, nil},
		"by a flag":           {nil, []string{"--prometheusHTTPServer", "0.0.0.0:" + port}},
		"on one address only": {[]string{"prometheus_server=" + at}, nil},
	} {
		if out, _, err := execute(test.environ, append([]string{"status", "--json"}, test.args...)...); err != nil || out != "/vips" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	for _, off := range []string{"", "2112", ":1"} {
		if _, _, err := execute([]string{"prometheus_server=" + off}, "status"); err == nil || !strings.Contains(err.Error(), "--from") {
			t.Errorf("%q: got %v", off, err)
		}
	}
}

func TestFlagsAreFlags(t *testing.T) {
	for _, args := range [][]string{{"manager", "--nonsense"}, {"nonsense"}, {"manager", "extra"}, {"config", "print", "-o", "xml"}} {
		if _, _, err := execute(least(), args...); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	out, _, err := execute(least(), "config", "print", "-n", "lb", "--inCluster")
	if err != nil || !hasLine(out, []string{"cp_namespace", "lb", "flag", "--namespace"}) || !hasLine(out, []string{"--inCluster", "true", "flag", "--inCluster"}) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestHelpTeaches(t *testing.T) {
	out, _, err := execute(nil, "manager", "--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--bgppeers, bgp_peers", "Election:", "(default kube-vip-cp)"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _, err = execute(nil, "--help")
	if err != nil || !strings.Contains(out, "vip manifest daemonset") {
		t.Errorf("no example in %q, %v", out, err)
	}
}

// TestExamplesWork types what the help and the documents tell users to type.
func TestExamplesWork(t *testing.T) {
	help, _, err := execute(nil, "--help")
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(documents, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		help += string(text)
	}
	examples := 0
	for line := range strings.Lines(strings.ReplaceAll(help, "\\\n", "")) {
		line, _, _ = strings.Cut(line, "|")
		line, _, _ = strings.Cut(line, ">")
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "vip" || words[1] != "manifest" {
			continue
		}
		examples++
		if _, problems, err := execute(nil, words[1:]...); err != nil || problems != "" {
			t.Errorf("%s: %v\n%s", line, err, problems)
		}
	}
	if examples == 0 {
		t.Error("no examples found")
	}
}

func TestVersion(t *testing.T) {
	out, _, err := execute(nil, "version")
	if err != nil || !strings.HasPrefix(out, "vip "+vip.Version()+" ") {
		t.Errorf("%q, %v", out, err)
	}
}

// TestManifestsOfKubeVIPLoad has the environment of pods in the field, whose image is swapped.
func TestManifestsOfKubeVIPLoad(t *testing.T) {
	for name, test := range map[string]struct {
		environ string
		notices int
		check   func(vip.Config) bool
	}{
		"static pod with ARP": {`vip_arp=true port=6443 vip_nodename=n1 vip_interface=eth0 vip_subnet=32 dns_mode=first dhcp_mode= cp_enable=true
			cp_namespace=kube-system svc_enable=true svc_leasename=plndr-svcs-lock vip_leaderelection=true vip_leasename=plndr-cp-lock
			vip_leaseduration=5 vip_renewdeadline=3 vip_retryperiod=1 address=192.0.2.40 prometheus_server=:2112`, 0,
			func(c vip.Config) bool {
				return c.Mode == vip.ModeARP && c.Election.Lease.Name == "plndr-cp-lock" && c.Services.Lease.Name == "plndr-svcs-lock"
			}},
		"DaemonSet with BGP": {`vip_arp=false port=6443 vip_interface=lo vip_cidr=32 cp_enable=true cp_namespace=kube-system vip_ddns=false svc_enable=true
			bgp_enable=true bgp_routerid= bgp_as=65000 bgp_peeraddress= bgp_peerpass= bgp_peeras=65000 lb_enable=false lb_port=6443
			bgp_peers=192.0.2.10:65000::false,192.0.2.11:65000::false vip_address=192.0.2.40 vip_loglevel=4 enable_endpoints=false`, 2,
			func(c vip.Config) bool { return c.Mode == vip.ModeBGP && len(c.BGP.Speaker.Peers) == 2 }},
		"waiting for annotations": {`bgp_enable=true cp_enable=true svc_enable=true vip_interface=lo address=192.0.2.40 annotation=metal.equinix.com
			vip_leaderelection=true vip_loseleadership=true vip_loseleadership_timeout_seconds=45`, 0,
			func(c vip.Config) bool {
				return c.BGP.Annotations == "metal.equinix.com" && c.Election.GiveUpAfter.Seconds() == 45
			}},
		"Services only, old names": {`vip_arp=true svc_enable=true svc_election=true vip_singlenode=true vip_startleader=true
			enable_service_security=false egress_withnftables=true enableServicesElection=true`, 3,
			func(c vip.Config) bool { return c.Services.Spread == vip.SpreadAll && !c.ControlPlane.Enabled }},
	} {
		t.Run(name, func(t *testing.T) {
			got := load(t, vip.Sources{Environ: strings.Fields(test.environ), Host: bed("")})
			if !test.check(got.Config) {
				t.Errorf("%+v", got.Config)
			}
			if n := notices(got); len(n) != test.notices {
				t.Errorf("%d notices: %q", len(n), n)
			}
		})
	}
}

func TestDownLinkMayBeAllowed(t *testing.T) {
	load(t, vip.Sources{Environ: least("vip_interface=eth1", "vip_allow_interface_not_up=true"), Host: bed("")})
}

// TestTogether has settings that are wrong in each other's company only.
func TestTogether(t *testing.T) {
	arp, bgp := "vip_arp=1 cp_enable=1 address=192.0.2.10", "bgp_enable=1 svc_enable=1 bgp_peers=192.0.2.1:65000"
	for name, test := range map[string]struct{ environ, want string }{
		"two modes":      {arp + " bgp_enable=1", `vip_arp="true" (environment vip_arp), bgp_enable="true" (environment bgp_enable): modes exclude each other`},
		"no mode":        {"svc_enable=1", "no mode"},
		"nothing":        {"vip_arp=1", "nothing to do"},
		"no address":     {"vip_arp=1 cp_enable=1", `address="" (default): the control plane needs an address`},
		"host name":      {"vip_arp=1 cp_enable=1 address=vip.example.org", "not in this version; give an IP address in place of a DNS name"},
		"two addresses":  {"vip_arp=1 cp_enable=1 address=192.0.2.1,192.0.2.1", "given twice"},
		"lease":          {arp + " vip_leaseduration=3", "two nodes hold one address"},
		"retry":          {arp + " vip_retryperiod=3", "1.2 times the retry period"},
		"one lease":      {arp + " svc_enable=1 svc_leasename=kube-system/kube-vip-cp", "need a lease each"},
		"balancer":       {arp + " lb_enable=1", `lb_enable="true" (environment lb_enable): not in this version`},
		"UPnP":           {arp + " enable_upnp=1", "enable_upnp"},
		"wireguard":      {"svc_enable=1 vip_wireguard=1", "vip_wireguard"},
		"routing table":  {"svc_enable=1 vip_routingtable=1 vip_routingprotocol=2", "vip_routingprotocol"},
		"metal and ARP":  {arp + " vip_packet=1", "Equinix Metal has no shared link"},
		"metal Services": {"vip_packet=1 cp_enable=1 address=192.0.2.10 svc_enable=1 provider_config=/x", "Services need bgp_enable"},
		"metal token":    {"vip_packet=1 cp_enable=1 address=192.0.2.10 vip_packetproject=p", "the API needs a token"},
		"metal project":  {"vip_packet=1 cp_enable=1 address=192.0.2.10 METAL_AUTH_TOKEN=t", "the API needs a project"},
		"source":         {bgp + " bgp_sourceip=192.0.2.9 bgp_sourceif=eth0", `bgp_sourceip="192.0.2.9" (environment bgp_sourceip), bgp_sourceif="eth0"`},
		"keepalive":      {bgp + " bgp_hold_time=9 bgp_keepalive_interval=9", "keepalive interval must be shorter"},
		"no peer":        {"bgp_enable=1 svc_enable=1", "no peer"},
		"password twice": {bgp + " bgp_peerpass=a bgp_peerpass_file=/b", "bgp_peerpass_file"},
		"fixed next hop": {bgp + " mpbgp_nexthop=fixed", "fixed next hops need an address"},
		"peer twice":     {bgp + " bgp_peeraddress=192.0.2.1", "peer 192.0.2.1 is given twice"},
		"health":         {arp + " control_plane_health_check_address=https://[::1]:6443/livez control_plane_health_check_timeout_seconds=9", "longer than the time to the next"},
		"kubeconfig":     {arp + " k8s_config_file=/x INCLUSTER", "--inCluster"},
		"loopback":       {arp + " vip_interface=lo", "nobody hears ARP and NDP"},
		"link down":      {arp + " vip_interface=eth1", `vip_interface="eth1" (environment vip_interface): the link is down`},
		"link":           {arp + " vip_servicesinterface=eth7", `vip_servicesinterface="eth7" (environment vip_servicesinterface): no such link`},
	} {
		t.Run(name, func(t *testing.T) {
			src := vip.Sources{Environ: strings.Fields(test.environ), Host: bed("")}
			if strings.HasSuffix(test.environ, "INCLUSTER") {
				src.Flags = map[string]string{"inCluster": "true"}
			}
			_, err := vip.Load(src)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Count(err.Error(), "\n") > 1 {
				t.Errorf("one fault, and many errors:\n%v", err)
			}
		})
	}
}
