package main_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	vip "daymark/cmd/vip"
	"daymark/internal/bgp"
)

// fromFile loads a file, and nothing else but where it is.
func fromFile(text string) (vip.Loaded, error) {
	return vip.Load(vip.Sources{Flags: map[string]string{"config-file": "vip.yaml"}, Host: bed(text)})
}

func TestFileByAnyName(t *testing.T) {
	want := load(t, vip.Sources{Host: bed(""), Environ: []string{
		"vip_arp=true", "svc_enable=true", "vip_interface=eth2", "vip_leaseduration=15", "vip_renewdeadline=10",
		`vip_leaseannotations={"a":"1"}`, "svc_allowed_cidrs=192.0.2.0/24,198.51.100.0/24",
	}}).Config
	for name, text := range map[string]string{
		"environment": `
vip_arp: true
svc_enable: true
vip_interface: eth2
vip_leaseduration: 15
vip_renewdeadline: 10
vip_leaseannotations: {a: "1"}
svc_allowed_cidrs: [192.0.2.0/24, 198.51.100.0/24]
`,
		"flags": `
Arp: true
services: "true"
interface: eth2
leaseDuration: "15"
leaseRenewDuration: 10
vip_leaseannotations: '{"a":"1"}'
servicesAllowedCIDRs: 192.0.2.0/24, 198.51.100.0/24
port: null
`,
		"kube-vip's own": `
enableARP: true
enableServices: true
interface: eth2
leaseDuration: 15
renewDeadline: 10
leaseAnnotations: {a: "1"}
servicesAllowedCIDRs: [192.0.2.0/24, 198.51.100.0/24]
`,
		"JSON": `{"vip_arp":true,"svc_enable":true,"vip_interface":"eth2","vip_leaseduration":15,"vip_renewdeadline":10,
"vip_leaseannotations":{"a":"1"},"svc_allowed_cidrs":["192.0.2.0/24","198.51.100.0/24"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fromFile(text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Config, want) {
				t.Errorf("got  %+v\nwant %+v", got.Config, want)
			}
			if len(got.Notices) > 0 {
				t.Errorf("notices %q", notices(got))
			}
		})
	}
}

func TestFileWithBGPAsKubeVIPWritesIt(t *testing.T) {
	got, err := fromFile(`
enableBGP: true
enableServices: true
bgpConfig:
  routerID: 192.168.1.1
  as: 65010
  sourceIF: lo
  holdTime: 60
  keepaliveInterval: 20
  peers:
  - {address: 192.168.1.2, as: 65001, port: 1179, multiHop: false}
  - {address: "2001:db8::3", as: 65002, multiHop: true, password: hunter2}
bgpPeerConfig: {address: 192.168.1.4, as: 65004}
`)
	if err != nil {
		t.Fatal(err)
	}
	b := got.Config.BGP.Speaker
	want := "192.168.1.2:65001:::1179,[2001:db8::3]:65002:hunter2:true,192.168.1.4:65004"
	if text := bgp.FormatPeers(b.Peers); text != want {
		t.Errorf("peers %s, want %s", text, want)
	}
	if b.ASN != 65010 || b.SourceLink != "lo" || b.HoldTime != time.Minute || b.Keepalive != 20*time.Second {
		t.Errorf("got %+v", b)
	}
	if shown := value(t, got, "bgp_peers").Text; strings.Contains(shown, "hunter2") {
		t.Errorf("a password is shown: %s", shown)
	}
}

func TestFileFaults(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"broken", "a: [", "neither YAML nor JSON"},
		{"twice", "vip_arp: true\nvip_arp: false\n", "already set"},
		{"two names", "vip_arp: true\narp: true\n", "arp and vip_arp are the same setting"},
		{"no object", "- a\n", "not an object"},
		{"nested", "bgp_peers: [[a]]\n", "a list in a list"},
		{"wrong peer", "bgpConfig: {peers: [{adress: x}]}\n", `unknown "adress" of a peer`},
		{"wrong value", "vip_arpRate: 3s\n", `file vip_arpRate="3s": not a whole number (of milliseconds)`},
		{"no file", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := fromFile(test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if _, err := vip.Load(vip.Sources{Environ: least("config_file=/none"), Host: bed("")}); err == nil ||
		!strings.Contains(err.Error(), `environment config_file="/none": reading the file`) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestFileUnknownNames(t *testing.T) {
	got, err := fromFile("vip_arp: true\nsvc_enable: true\nvip_intreface: lo\nconfig_file: other\nloadBalancers: [{name: x}]\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"config_file: has no effect in vip.yaml: a file can't name a file",
		"loadBalancers: unknown name in vip.yaml: did you mean enableLoadBalancer?",
		"vip_intreface: unknown name in vip.yaml: did you mean vip_interface?",
	}
	if d := cmp.Diff(want, notices(got)); d != "" {
		t.Error(d)
	}
}

// FuzzFile wants no panic, and of every file that is accepted that its environment means the same.
func FuzzFile(f *testing.F) {
	f.Add("vip_arp: true\nsvc_enable: true\n")
	f.Add(`{"enableBGP":true,"bgpConfig":{"as":1,"peers":[{"address":"::1","as":3,"password":"x"}]},"svc_enable":1}`)
	f.Add("vip_arp: yes\ncp_enable: 1e0\naddress: [192.0.2.1, \"::2\"]\nvip_leaseannotations: {a: b}\nlb_class_name: ''\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := fromFile(text)
		if err == nil {
			sameFromEnvironment(t, got)
		}
	})
}

// FuzzEnvironment does likewise with one variable a line.
func FuzzEnvironment(f *testing.F) {
	f.Add("vip_arp=true\nsvc_enable=true\nvip_subnet=auto,64\nsvc_allowed_cidrs=192.0.2.0/24")
	f.Add("bgp_enable=1\nsvc_enable=T\nbgp_peers=192.0.2.1:65000:a b:3\nbgp_communities=no-export,1:2\nbgp_med=4\nprometheus_server=")
	f.Fuzz(func(t *testing.T, text string) {
		host := bed("")
		host.LinkUp = nil
		got, err := vip.Load(vip.Sources{Environ: strings.Split(text, "\n"), Host: host})
		if err == nil {
			sameFromEnvironment(t, got)
		}
	})
}

func sameFromEnvironment(t *testing.T, first vip.Loaded) {
	t.Helper()
	var environ []string
	for _, e := range first.Environment() {
		environ = append(environ, e.Name+"="+e.Value)
	}
	host := bed("")
	host.LinkUp = nil
	again, err := vip.Load(vip.Sources{Environ: environ, Host: host})
	if err != nil {
		t.Fatalf("%q: %v", environ, err)
	}
	// --inCluster has no variable: the manifest says it.
	again.Config.Kubernetes.InCluster = first.Config.Kubernetes.InCluster
	if !reflect.DeepEqual(first.Config, again.Config) {
		t.Fatalf("%q\nfirst %+v\nagain %+v", environ, first.Config, again.Config)
	}
}

// null is not set, also for what the empty text means something to.
func TestNullInAFileIsNotSet(t *testing.T) {
	const rest = "vip_arp: true\nsvc_enable: true\nprometheus_server: "
	for text, want := range map[string]string{"null": ":2112", "": ":2112", `""`: ""} {
		got, err := fromFile(rest + text)
		if err != nil {
			t.Fatal(err)
		}
		if got.Config.HTTP.Metrics != want {
			t.Errorf("prometheus_server: %s is %q, want %q", text, got.Config.HTTP.Metrics, want)
		}
	}
}
