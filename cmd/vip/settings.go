package main

import (
	"log/slog"
	"net/netip"
	"time"

	"daymark/annotations"
)

// setting is one row of the configuration. Flags, environment, file, `config print`, manifests and docs/configuration.md
// are all made from these rows; there is no other list of names.
type setting struct {
	group string
	env   []string // the first is the one that we write
	flag  string   // without dashes, in its documented spelling; matched without regard to case
	short string   // the flag's one letter
	file  []string // names that kube-vip's own file has for it, beside env and flag; matched without regard to case
	def   string   // the default's text; read like any other value
	auto  string   // in place of def: what the default is found from, in words
	help  string   // one sentence for users
	state state
	use   string // with stateOld: the key to use instead; empty means that it has no effect

	secret bool                   // never shown
	show   func(c *Config) string // of a secret, what may be shown; nil means stars
	blank  bool                   // the empty text is a value; otherwise it means "not set"
	binding
}

// state says whether a setting still, or already, does something.
type state int

const (
	stateActive state = iota
	stateOld          // works, and warns with its successor; without one it has no effect
	stateLater        // known, has no effect
)

// key is the name by which messages call the setting.
func (s setting) key() string {
	if len(s.env) > 0 {
		return s.env[0]
	}
	return "--" + s.flag
}

// settings returns every setting, in the order of the documentation.
func settings() []setting {
	var all []setting
	for _, group := range [][]setting{
		basicSettings(), controlPlaneSettings(), electionSettings(), serviceSettings(), arpSettings(),
		bgpSettings(), routingTableSettings(), metalSettings(),
	} {
		all = append(all, group...)
	}
	return all
}

func env(names ...string) []string { return names }

func basicSettings() []setting {
	const group = "Basic"
	return []setting{
		{group: group, env: env("vip_loglevel"), flag: "log", file: env("logging"), def: "0",
			help:    "lowest level that is logged: -4 debug, 0 info, 4 warn, 8 error",
			binding: bind(level(), func(c *Config) *slog.Level { return &c.Log.Level })},
		{group: group, env: env("instance_name", "INSTANCE_NAME"), flag: "instanceName",
			help:    "tells two agents with the same tasks on one host apart: part of the mark of their addresses",
			binding: bind(name(), func(c *Config) *string { return &c.Node.Instance })},
		{group: group, env: env("vip_interface"), flag: "interface", auto: "link of the default route",
			help:    "link for VIPs; `lo` is common with BGP and routing table",
			binding: bind(link(), func(c *Config) *string { return &c.Links.ControlPlane })},
		{group: group, env: env("vip_servicesinterface"), flag: "serviceInterface", file: env("servicesInterface"), auto: "vip_interface",
			help:    "link for the VIPs of Services; `auto` is the link whose subnet holds the address",
			binding: bind(link(), func(c *Config) *string { return &c.Links.Services })},
		{group: group, env: env("vip_allow_interface_not_up"), flag: "allowInterfaceNotUp", def: "false",
			help:    "start although the link is down",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Links.AllowDown })},
		{group: group, env: env("vip_interfaceloglobal"), flag: "loInterfaceGlobalScope", def: "false",
			help:    "give addresses on lo scope global instead of host",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Links.GlobalScopeOnLoopback })},
		{group: group, env: env("vip_subnet"), flag: "vipSubnet", def: "32,128",
			help:    "prefix lengths of VIPs for IPv4 and IPv6; `auto` is the link's own",
			binding: bind(subnet(), func(c *Config) *Subnet { return &c.Links.Subnet })},
		{group: group, env: env("vip_cidr"), flag: "cidr", state: stateOld, use: "vip_subnet"},
		{group: group, env: env("address"), flag: "address",
			help:    "the control plane's VIPs: a comma list of addresses, or one DNS name",
			binding: bindAddress()},
		{group: group, env: env("vip_address"), flag: "vip", state: stateOld, use: "address"},
		{group: group, env: env("port"), flag: "port", def: "6443",
			help:    "port of the API server",
			binding: bind(number[uint16](1, 65535), func(c *Config) *uint16 { return &c.ControlPlane.Port })},
		{group: group, env: env("vip_nodename", "NODE_NAME"), flag: "nodeName", file: env("leaseNodeName"), auto: "host name in lower case",
			help:    "name of this Node, and identity in leases",
			binding: bind(name(), func(c *Config) *string { return &c.Node.Name })},
		{group: group, env: env("annotation"), flag: "annotations",
			help:    "prefix of the Node annotations that carry the BGP configuration; when set, BGP waits for them",
			binding: bind(text(), func(c *Config) *string { return &c.BGP.Annotations })},
		{group: group, env: env("config_file"), flag: "config-file", file: env("configFile"),
			help: "YAML or JSON file of these settings, by any of their names",
			binding: binding{kind: "path", parse: func(*Config, string) error { return nil },
				format: func(*Config) string { return "" }}},
		{group: group, env: env("debounce_time"), flag: "debounceTime", def: "0", state: stateOld,
			help: "changes of a Service that come together are looked at once in any case"},
		{group: group, env: env("health_check_port"), flag: "healthCheckPort", def: "0",
			help:    "further port for /healthz, /livez and /readyz; 0 is off",
			binding: bind(number[uint16](0, 65535), func(c *Config) *uint16 { return &c.HTTP.HealthPort })},
		{group: group, env: env("prometheus_server"), flag: "prometheusHTTPServer", def: ":2112", blank: true,
			help:    "listen address for /metrics, /livez, /readyz and /vips; empty is off",
			binding: bind(listen(), func(c *Config) *string { return &c.HTTP.Metrics })},
		{group: group, env: env("k8s_config_file"), flag: "k8sConfigPath", file: env("k8sConfigFile"), auto: DefaultKubeconfig + ", then in-cluster",
			help:    "kubeconfig",
			binding: bind(text(), func(c *Config) *string { return &c.Kubernetes.File })},
		{group: group, env: env("kubernetes_addr"), file: env("kubernetesAddr"),
			help:    "URL of the API server, in place of the kubeconfig's",
			binding: bind(server(), func(c *Config) *string { return &c.Kubernetes.Address })},
		{group: group, flag: "inCluster", def: "false",
			help:    "use the pod's service account",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Kubernetes.InCluster })},
		{group: group, env: env("vip_singlenode"), file: env("singleNode"), state: stateOld},
		{group: group, env: env("vip_startleader"), file: env("startAsLeader"), state: stateOld},
		{group: group, env: env("vip_configmap"), state: stateOld},
		{group: group, env: env("iptables_backend"), file: env("iptablesBackend"), state: stateOld},
	}
}

func controlPlaneSettings() []setting {
	const group = "Control plane"
	health := func(c *Config) *HealthCheck { return &c.ControlPlane.Health }
	return []setting{
		{group: group, env: env("cp_enable"), flag: "controlplane", file: env("enableControlPlane"), def: "false",
			help:    "serve the control plane's VIP",
			binding: bind(boolean(), func(c *Config) *bool { return &c.ControlPlane.Enabled })},
		{group: group, env: env("cp_detect"), flag: "autodetectcp", file: env("detectControlPlane"), def: "false",
			help:    "find a working address of the API server among the IP addresses in the local one's certificate",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Kubernetes.Detect })},
		{group: group, env: env("cp_namespace"), flag: "namespace", short: "n", auto: "the pod's own, else kube-system",
			help:    "namespace of leases and of Secret wireguard",
			binding: bind(name(), func(c *Config) *string { return &c.Kubernetes.Namespace })},
		{group: group, env: env("vip_ddns"), flag: "ddns", def: "false",
			help:    "`address` is a host name: get its address by DHCP and keep the lease",
			binding: bind(boolean(), func(c *Config) *bool { return &c.DNS.DHCP })},
		{group: group, env: env("dns_mode"), flag: "dnsMode", file: env("dnsDualStackMode"), def: "first",
			help:    "which addresses of a DNS name are used",
			binding: bind(choice("first", "ipv4", "ipv6", "dual"), func(c *Config) *string { return &c.DNS.Mode })},
		{group: group, env: env("dhcp_mode"), flag: "dhcpMode", auto: "from dns_mode",
			help:    "which addresses are asked for by DHCP",
			binding: bind(choice("ipv4", "ipv6", "dual"), func(c *Config) *string { return &c.DNS.DHCPMode })},
		{group: group, env: env("dhcp_backoff_attempts"), flag: "dhcpBackoffAttempts", def: "3",
			help:    "how often DHCP is tried; 0 is no limit",
			binding: bind(number[int](0, 1<<31-1), func(c *Config) *int { return &c.DNS.DHCPAttempts })},
		{group: group, env: env("lb_enable"), flag: "enableLoadBalancer", def: "false",
			help:    "balance the VIP over all API servers",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Balancer.Enabled })},
		{group: group, env: env("lb_port"), flag: "lbPort", def: "6443",
			help:    "port of the balancer",
			binding: bind(number[uint16](1, 65535), func(c *Config) *uint16 { return &c.Balancer.Port })},
		{group: group, env: env("lb_fwdmethod"), flag: "lbForwardingMethod", def: "local",
			help: "how IPVS forwards",
			binding: bind(choice("local", "masquerade", "tunnel", "directroute", "bypass"),
				func(c *Config) *string { return &c.Balancer.Forward })},
		{group: group, env: env("backend_health_check_interval"), file: env("backendHealthCheckInterval"), def: "5",
			help:    "seconds between checks of the balancer's backends",
			binding: bind(seconds(1, 3600), func(c *Config) *time.Duration { return &c.Balancer.Check })},
		{group: group, env: env("control_plane_health_check_address"), flag: "controlPlaneHealthCheckAddress",
			help:    "URL that must answer 200 for the VIP to be held; without one, and without an election, /livez on the node itself once that was well",
			binding: bind(webURL(), func(c *Config) *string { return &health(c).URL })},
		{group: group, env: env("control_plane_health_check_period_seconds"), flag: "controlPlaneHealthCheckPeriodSeconds", def: "5",
			help:    "seconds between two checks",
			binding: bind(seconds(1, 3600), func(c *Config) *time.Duration { return &health(c).Period })},
		{group: group, env: env("control_plane_health_check_timeout_seconds"), flag: "controlPlaneHealthCheckTimeoutSeconds", def: "3",
			help:    "seconds that a check may take",
			binding: bind(seconds(1, 3600), func(c *Config) *time.Duration { return &health(c).Timeout })},
		{group: group, env: env("control_plane_health_check_failure_threshold"), flag: "controlPlaneHealthCheckFailureThreshold", def: "3",
			help:    "failed checks in a row after which the VIP is withdrawn",
			binding: bind(number[int](1, 1000), func(c *Config) *int { return &health(c).Failures })},
		{group: group, env: env("control_plane_health_check_ca_path"), flag: "controlPlaneHealthCheckCAPath",
			help:    "file of the certificates that the check trusts",
			binding: bind(text(), func(c *Config) *string { return &health(c).CAFile })},
	}
}

func electionSettings() []setting {
	const group = "Election"
	return []setting{
		{group: group, env: env("vip_leaderelection"), flag: "leaderElection", file: env("enableLeaderElection"), def: "false",
			help:    "elect a holder; the control plane with ARP always does",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Election.Enabled })},
		{group: group, env: env("vip_leasename"), flag: "leaseName", def: "kube-vip-cp",
			help:    "lease of the control plane, also `namespace/name`; kube-vip's manifests set plndr-cp-lock",
			binding: bind(lease(), func(c *Config) *LeaseRef { return &c.Election.Lease })},
		{group: group, env: env("vip_leaseduration"), flag: "leaseDuration", def: "5",
			help:    "seconds after which others take over from a holder that doesn't renew",
			binding: bind(seconds(1, 86400), func(c *Config) *time.Duration { return &c.Election.Timing.LeaseDuration })},
		{group: group, env: env("vip_renewdeadline"), flag: "leaseRenewDuration", file: env("renewDeadline"), def: "3",
			help:    "seconds after its last renewal at which a holder lets go",
			binding: bind(seconds(1, 86400), func(c *Config) *time.Duration { return &c.Election.Timing.RenewDeadline })},
		{group: group, env: env("vip_retryperiod"), flag: "leaseRetry", file: env("retryPeriod"), def: "1",
			help:    "seconds between two attempts to get or renew a lease",
			binding: bind(seconds(1, 86400), func(c *Config) *time.Duration { return &c.Election.Timing.RetryPeriod })},
		{group: group, env: env("vip_leaseannotations"), file: env("leaseAnnotations"),
			help:    "JSON object of annotations to put on the control plane's lease",
			binding: bind(stringMap(), func(c *Config) *map[string]string { return &c.Election.Annotations })},
		{group: group, env: env("vip_preserve_on_leadership_loss"), flag: "preserveVipOnLeadershipLoss", def: "false",
			help:    "when leadership is lost keep the address on the link, unannounced, until another host is heard to use it",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Election.PreserveAddress })},
		{group: group, env: env("vip_loseleadership"), flag: "loseLeadership", def: "false",
			help:    "give up leadership when the link stays down",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Election.giveUp })},
		{group: group, env: env("vip_loseleadership_timeout_seconds"), flag: "loseLeadershiptTimeoutSeconds",
			file: env("loseLeadershipTimeoutSeconds"), def: "30",
			help:    "seconds for which the link must be down",
			binding: bind(seconds(1, 86400), func(c *Config) *time.Duration { return &c.Election.GiveUpAfter })},
		{group: group, env: env("svc_election"), flag: "servicesElection", file: env("enableServicesElection"), def: "false",
			help:    "spread Services over nodes",
			binding: bind(boolean(), func(c *Config) *bool { return &c.switches.servicesElection })},
		{group: group, env: env("svc_leasename"), flag: "servicesLeaseName", def: "kube-vip-services",
			help:    "the one lease of all Services when they aren't spread",
			binding: bind(lease(), func(c *Config) *LeaseRef { return &c.Services.Lease })},
		{group: group, env: env("per_service_election_on_demand"), flag: "perServiceElectionOnDemand", def: "false",
			help:    "spread only Services annotated " + annotations.ForcePerServiceElection,
			binding: bind(boolean(), func(c *Config) *bool { return &c.switches.forceElectionOnDemand })},
		{group: group, flag: "leaderElectionType", def: "kubernetes", state: stateLater},
		{group: group, flag: "etcdCACert", file: env("etcd.caFile"), state: stateLater},
		{group: group, flag: "etcdCert", file: env("etcd.clientCertFile"), state: stateLater},
		{group: group, flag: "etcdKey", file: env("etcd.clientKeyFile"), state: stateLater},
		{group: group, flag: "etcdEndpoints", file: env("etcd.endpoints"), state: stateLater},
	}
}

func serviceSettings() []setting {
	const group = "Services"
	return []setting{
		{group: group, env: env("svc_enable"), flag: "services", file: env("enableServices"), def: "false",
			help:    "serve Services of type LoadBalancer",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Services.Enabled })},
		{group: group, env: env("svc_namespace"), file: env("serviceNamespace"), auto: "all",
			help:    "the only namespace whose Services are served",
			binding: bind(name(), func(c *Config) *string { return &c.Services.Namespace })},
		{group: group, env: env("svc_allowed_cidrs"), flag: "servicesAllowedCIDRs", auto: "all",
			help: "comma list of prefixes outside which no Service gets an address",
			binding: bind(list(prefix(), sortedUnique(comparePrefix)),
				func(c *Config) *[]netip.Prefix { return &c.Services.AllowedCIDRs })},
		{group: group, env: env("lb_class_only"), flag: "lbClassOnly", def: "false",
			help:    "ignore Services without a class",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Services.Class.Only })},
		{group: group, env: env("lb_class_name"), flag: "lbClassName", def: annotations.DefaultClass, blank: true,
			help:    "our load balancer class; empty is any",
			binding: bind(text(), func(c *Config) *string { return &c.Services.Class.Name })},
		{group: group, env: env("lb_class_legacy_handling"), flag: "lbClassNameLegacyHandling", def: "true",
			help:    "true: serve our class and none; false: the class must match exactly",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Services.Class.Legacy })},
		{group: group, env: env("enable_node_labeling"), flag: "enableNodeLabeling", def: "false",
			help:    "label the Node of the holder",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Services.LabelNodes })},
		{group: group, env: env("disable_service_updates"), flag: "disableServiceUpdates", def: "false",
			help:    "do not write status.loadBalancer",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Services.LeaveStatus })},
		{group: group, env: env("enable_upnp"), file: env("enableUPNP"), def: "false",
			help:    "open the ports of annotated Services on the gateway by UPnP",
			binding: bind(boolean(), func(c *Config) *bool { return &c.Services.PortMapping })},
		{group: group, env: env("enable_endpoints"), flag: "enableEndpoints", def: "false", state: stateOld},
		{group: group, env: env("enable_endpointslices"), def: "true", state: stateOld},
		{group: group, env: env("enable_service_security"), flag: "onlyAllowTrafficServicePorts", file: env("EnableServiceSecurity"), def: "false", state: stateLater},
		{group: group, env: env("mirror_dest_interface"), flag: "mirrorDestInterface", state: stateLater},
		{group: group, env: env("egress_podcidr"), state: stateLater},
		{group: group, env: env("egress_servicecidr"), state: stateLater},
		{group: group, env: env("egress_withnftables"), flag: "egressWithNftables", def: "false", state: stateLater},
		{group: group, env: env("egress_clean"), def: "false", state: stateLater},
	}
}
