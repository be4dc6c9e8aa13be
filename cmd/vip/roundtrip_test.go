package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	vip "daymark/cmd/vip"
)

// execute runs the command line and returns what it prints.
func execute(environ []string, args ...string) (stdout, stderr string, err error) {
	var out, problems bytes.Buffer
	cmd := vip.NewCommand(environ)
	cmd.SetOut(&out)
	cmd.SetErr(&problems)
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), problems.String(), err
}

// samples has a valid text, other than the default, for every flag that the agent in ARP mode may have.
func samples() map[string]string {
	return map[string]string{
		"log": "-4", "instanceName": "b", "interface": "eth2", "serviceInterface": "auto", "allowInterfaceNotUp": "true",
		"loInterfaceGlobalScope": "true", "vipSubnet": "24,64", "address": "192.0.2.10,2001:db8::10", "port": "7443",
		"nodeName": "n1", "healthCheckPort": "8081", "prometheusHTTPServer": "", "k8sConfigPath": "/etc/k.conf",
		"controlplane": "true", "autodetectcp": "true", "namespace": "lb", "dnsMode": "dual", "dhcpMode": "ipv4",
		"dhcpBackoffAttempts": "0", "lbPort": "8443", "lbForwardingMethod": "masquerade",
		"controlPlaneHealthCheckAddress": "https://127.0.0.1:6443/livez", "controlPlaneHealthCheckPeriodSeconds": "9",
		"controlPlaneHealthCheckTimeoutSeconds": "4", "controlPlaneHealthCheckFailureThreshold": "2",
		"controlPlaneHealthCheckCAPath": "/etc/ca.crt", "leaderElection": "true", "leaseName": "other/plndr-cp-lock",
		"leaseDuration": "15", "leaseRenewDuration": "10", "leaseRetry": "2", "preserveVipOnLeadershipLoss": "true",
		"loseLeadership": "true", "loseLeadershiptTimeoutSeconds": "20", "servicesElection": "true", "servicesLeaseName": "s",
		"perServiceElectionOnDemand": "true", "services": "true", "servicesAllowedCIDRs": "192.0.2.0/24,2001:db8::/64",
		"lbClassOnly": "true", "lbClassName": "", "lbClassNameLegacyHandling": "false", "enableNodeLabeling": "true",
		"disableServiceUpdates": "true", "arp": "true",
	}
}

// bgpSamples are the flags for BGP; they come in place of arp.
func bgpSamples() map[string]string {
	out := samples()
	delete(out, "arp")
	for flag, text := range map[string]string{
		"bgp": "true", "annotations": "metal.equinix.com", "bgpRouterID": "192.0.2.1", "localAS": "4200000000",
		"sourceIF": "lo", "bgpHoldTimer": "9", "bgpKeepAliveInterval": "3",
		"bgppeers":    "192.0.2.1:65000:pw:false:1179:mpbgp_nexthop=fixed;mpbgp_ipv4=192.0.2.9:true;100;100;3,[2001:db8::1]:65001",
		"peerAddress": "192.0.2.3", "peerAS": "65003", "peerPassFile": "/etc/pw", "multihop": "true", "bgpAttachIPToInterface": "true",
		"bgpCommunities": "65000:1,no-export", "bgpLargeCommunities": "65000:1:2", "bgpLocalPref": "0", "bgpMED": "7",
		"bgpGracefulRestart": "120", "bgpDrainDelay": "2", "bgpTTLSecurity": "1",
		"tableID": "7", "tableType": "2", "routingProtocol": "9", "cleanRoutingTable": "true",
		"metalKey": "token", "metalProject": "p", "metalProjectID": "id", "provider-config": "/etc/cloud",
	} {
		out[flag] = text
	}
	return out
}

// notSampled are flags that the samples can't have: what this version refuses, what excludes another, and the file.
var notSampled = []string{"config-file", "inCluster", "ddns", "enableLoadBalancer", "table", "wireguard", "metal", "sourceIP", "peerPass", "arp"}

func TestSamplesCoverEveryFlag(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	vip.AddFlags(flags)
	texts := bgpSamples()
	known := map[string]bool{}
	for name := range texts {
		known[strings.ToLower(name)] = true
	}
	for _, name := range notSampled {
		known[strings.ToLower(name)] = true
	}
	noEffect := vip.FlagsWithoutEffect()
	flags.VisitAll(func(f *pflag.Flag) {
		if !known[f.Name] && !slices.ContainsFunc(noEffect, func(s string) bool { return strings.EqualFold(s, f.Name) }) {
			t.Errorf("no sample for --%s", f.Name)
		}
	})
}

func TestFlagsAndEnvironmentSayTheSame(t *testing.T) {
	for name, flags := range map[string]map[string]string{"ARP": samples(), "BGP": bgpSamples()} {
		t.Run(name, func(t *testing.T) { bothWays(t, flags) })
	}
}

// bothWays loads flags, then the environment made of them, then flags made of that environment: three times one Config.
func bothWays(t *testing.T, flags map[string]string) {
	t.Helper()
	byFlag := load(t, vip.Sources{Flags: flags, Host: bed("")})
	var environ []string
	again := map[string]string{}
	for _, e := range byFlag.Environment() {
		environ = append(environ, e.Name+"="+e.Value)
		flag, err := vip.FlagFor(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		again[strings.TrimPrefix(flag, "--")] = e.Value
	}
	if len(environ) != len(flags) {
		t.Errorf("%d flags became %d variables: %q", len(flags), len(environ), environ)
	}
	for name, src := range map[string]vip.Sources{
		"environment": {Environ: environ, Host: bed("")}, "flags again": {Flags: again, Host: bed("")},
	} {
		got := load(t, src)
		if !reflect.DeepEqual(got.Config, byFlag.Config) {
			t.Errorf("%s: another Config\ngot  %+v\nwant %+v", name, got.Config, byFlag.Config)
		}
		if d := cmp.Diff(notices(byFlag), notices(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestAnySubsetOfFlags takes away flags at random; what is left is valid, or refused as flags and as environment alike.
func TestAnySubsetOfFlags(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		flags := samples()
		if seed%2 == 1 {
			flags = bgpSamples()
		}
		for name := range flags {
			if random.IntN(3) == 0 && !slices.Contains([]string{"arp", "bgp", "controlplane", "address"}, name) {
				delete(flags, name)
			}
		}
		if _, err := vip.Load(vip.Sources{Flags: flags, Host: bed("")}); err == nil {
			bothWays(t, flags)
		}
	}
}

func TestManifestCarriesEveryFlag(t *testing.T) {
	for name, flags := range map[string]map[string]string{"ARP": samples(), "BGP": bgpSamples()} {
		for _, kind := range []string{"pod", "daemonset"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				args := []string{"manifest", kind, "--image", "daymark:test"}
				for flag, text := range flags {
					args = append(args, fmt.Sprintf("--%s=%s", strings.ToUpper(flag), text))
				}
				text, _, err := execute(nil, args...)
				if err != nil {
					t.Fatal(err)
				}
				environ := environment(t, kind, text)
				got := load(t, vip.Sources{Environ: environ, Host: bed("")}).Config
				want := load(t, vip.Sources{Flags: flags, Host: bed("")}).Config
				if !reflect.DeepEqual(got, want) {
					t.Errorf("the pod's Config is another one\ngot  %+v\nwant %+v", got, want)
				}
			})
		}
	}
}

// environment returns the container's, with the node's name as the kubelet fills it in.
func environment(t *testing.T, kind, text string) []string {
	t.Helper()
	var spec corev1.PodSpec
	if kind == "pod" {
		var pod corev1.Pod
		if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
			t.Fatal(err)
		}
		spec = pod.Spec
	} else {
		var set appsv1.DaemonSet
		if err := yaml.UnmarshalStrict([]byte(text), &set); err != nil {
			t.Fatal(err)
		}
		spec = set.Spec.Template.Spec
	}
	var out []string
	for _, e := range spec.Containers[0].Env {
		if e.ValueFrom != nil {
			e.Value = "n1"
		}
		out = append(out, e.Name+"="+e.Value)
	}
	return out
}

func TestManifestOfTheLeast(t *testing.T) {
	text, problems, err := execute([]string{"vip_interface=eth9"}, "manifest", "pod", "--controlplane", "--arp", "--address", "192.0.2.10")
	if err != nil || problems != "" {
		t.Fatal(err, problems)
	}
	environ := environment(t, "pod", text)
	want := []string{"vip_nodename=n1", "vip_interface=eth9", "address=192.0.2.10", "cp_enable=true", "vip_arp=true"}
	if !slices.Equal(environ, want) {
		t.Errorf("got %q, want %q", environ, want)
	}
}

func TestManifestRefusesWhatTheAgentWould(t *testing.T) {
	text, _, err := execute(nil, "manifest", "pod", "--controlplane", "--arp", "--bgp", "--address", "nonsense address")
	if err == nil || text != "" || !strings.Contains(err.Error(), "exclude each other") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("printed %q, error %v", text, err)
	}
}

func TestManifestWarnsOfSecrets(t *testing.T) {
	_, problems, err := execute(nil, "manifest", "pod", "--services", "--bgp", "--bgppeers", "192.0.2.1:65000:hunter2")
	if err != nil || !strings.Contains(problems, "bgp_peers holds a secret") || strings.Contains(problems, "hunter2") {
		t.Errorf("%v, stderr %q", err, problems)
	}
}
