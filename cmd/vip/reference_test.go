package main_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vip "daymark/cmd/vip"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what the table says (go test -update writes it):\n%s", path, d)
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	golden(t, "../../docs/configuration.md", vip.Reference())
}

// TestReferenceHasTheWholeContract names every setting that users of kube-vip rely on.
func TestReferenceHasTheWholeContract(t *testing.T) {
	text := vip.Reference()
	for name := range strings.FieldsSeq(`
		vip_loglevel --log instance_name INSTANCE_NAME --instanceName vip_interface --interface vip_servicesinterface --serviceInterface
		vip_allow_interface_not_up --allowInterfaceNotUp vip_interfaceloglobal --loInterfaceGlobalScope vip_subnet --vipSubnet vip_cidr --cidr
		address --address vip_address --vip port --port vip_nodename NODE_NAME --nodeName annotation --annotations config_file --config-file
		debounce_time --debounceTime health_check_port --healthCheckPort prometheus_server --prometheusHTTPServer k8s_config_file
		--k8sConfigPath kubernetes_addr --inCluster vip_singlenode vip_startleader vip_configmap iptables_backend
		cp_enable --controlplane cp_detect --autodetectcp cp_namespace --namespace -n vip_ddns --ddns dns_mode --dnsMode dhcp_mode --dhcpMode
		dhcp_backoff_attempts --dhcpBackoffAttempts lb_enable --enableLoadBalancer lb_port --lbPort lb_fwdmethod --lbForwardingMethod
		backend_health_check_interval control_plane_health_check_address --controlPlaneHealthCheckAddress
		control_plane_health_check_period_seconds --controlPlaneHealthCheckPeriodSeconds
		control_plane_health_check_timeout_seconds --controlPlaneHealthCheckTimeoutSeconds
		control_plane_health_check_failure_threshold --controlPlaneHealthCheckFailureThreshold
		control_plane_health_check_ca_path --controlPlaneHealthCheckCAPath
		vip_leaderelection --leaderElection vip_leasename --leaseName vip_leaseduration --leaseDuration vip_renewdeadline
		--leaseRenewDuration vip_retryperiod --leaseRetry vip_leaseannotations vip_preserve_on_leadership_loss --preserveVipOnLeadershipLoss
		vip_loseleadership --loseLeadership vip_loseleadership_timeout_seconds --loseLeadershiptTimeoutSeconds svc_election --servicesElection
		svc_leasename --servicesLeaseName per_service_election_on_demand --perServiceElectionOnDemand --leaderElectionType
		--etcdCACert --etcdCert --etcdKey --etcdEndpoints
		svc_enable --services svc_namespace lb_class_only --lbClassOnly lb_class_name --lbClassName lb_class_legacy_handling
		--lbClassNameLegacyHandling enable_node_labeling --enableNodeLabeling disable_service_updates --disableServiceUpdates enable_upnp
		enable_endpoints --enableEndpoints enable_endpointslices enable_service_security --onlyAllowTrafficServicePorts
		mirror_dest_interface --mirrorDestInterface egress_podcidr egress_servicecidr egress_withnftables --egressWithNftables egress_clean
		vip_arp --arp vip_arpRate vip_skipdad
		bgp_enable --bgp bgp_routerid --bgpRouterID bgp_routerinterface bgp_as --localAS bgp_sourceip --sourceIP bgp_sourceif --sourceIF
		bgp_hold_time --bgpHoldTimer bgp_keepalive_interval --bgpKeepAliveInterval bgp_peers --bgppeers bgp_peeraddress --peerAddress
		bgp_peeras --peerAS bgp_peerpass --peerPass bgp_multihop --multihop bgp_attach_ip_to_interface --bgpAttachIPToInterface
		mpbgp_nexthop mpbgp_ipv4 mpbgp_ipv6 zebra_enable --zebra zebra_url --zebraUrl zebra_version --zebraVersion
		zebra_software_name --zebraSoftwareName
		vip_routingtable --table vip_routingtableid --tableID vip_routingtabletype --tableType vip_routingprotocol --routingProtocol
		vip_cleanroutingtable --cleanRoutingTable vip_wireguard --wireguard
		vip_packet --metal --metalKey PACKET_AUTH_TOKEN METAL_AUTH_TOKEN vip_packetproject --metalProject vip_packetprojectid
		--metalProjectID --provider-config
		svc_allowed_cidrs bgp_communities bgp_large_communities bgp_local_pref bgp_med bgp_peerpass_file`) {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestWhatIsMissingIsSaidWhereItIsNamed: nobody reads to the end of the page before choosing a setting.
func TestWhatIsMissingIsSaidWhereItIsNamed(t *testing.T) {
	lines := strings.Split(vip.Reference(), "\n")
	for _, test := range []struct {
		setting string
		missing bool
	}{{"lb_enable", true}, {"lb_port", true}, {"dns_mode", true}, {"vip_wireguard", true}, {"address", true}, {"vip_arp", false}, {"port", false}} {
		for _, line := range lines {
			if strings.HasPrefix(line, "| `"+test.setting+"`") && strings.HasSuffix(line, "not in this version |") != test.missing {
				t.Errorf("%s", line)
			}
		}
	}
}
