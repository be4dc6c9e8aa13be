package equinix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"daymark/annotations"
)

// Config is the configuration of the provider, read by [ParseConfig] from the file of --cloud-config (or --provider-config) and the
// environment. Files of the Equinix CCM 3.x are read as they are.
type Config struct {
	Client ClientConfig
	// Metro is the code of the metro where addresses are bought and devices live; Facility the older, finer place.
	Metro, Facility string
	LocalASN        uint32
	BGPPassword     string
	// EIPTag is the tag of the control plane's elastic address; "" means that there is none to move.
	EIPTag string
	// APIServerPort is the port to check behind EIPTag; 0 means the API servers' own.
	APIServerPort uint16
	// HealthCheckUseHostIP checks each API server at its node's own address and never through the elastic one.
	HealthCheckUseHostIP bool
	// BGPNodes selects the nodes that get BGP; never nil.
	BGPNodes labels.Selector
	// LoadBalancer says whether Services get addresses.
	LoadBalancer LoadBalancer
	// Keys are the names of the Node annotations; see [Keys].
	Keys Keys
	// EIPMetroKey and EIPFacilityKey are the annotations by which a Service says where its address is bought, when neither Metro nor Facility do.
	EIPMetroKey, EIPFacilityKey string
}

// LoadBalancer is what announces the addresses of Services.
type LoadBalancer string

// What can announce the addresses. Nothing is deployed for either.
const (
	NoLoadBalancer LoadBalancer = ""         // Services get no addresses, nodes no BGP
	KubeVIP        LoadBalancer = "kube-vip" // the vip program, by the Node annotations
	Empty          LoadBalancer = "empty"    // something else that reads the same annotations
)

// Keys are the Node annotation keys that the CCM writes, with {{n}} in the place of a peer's index; keys without {{n}} make the older
// generation, one set of peers a node.
type Keys struct {
	LocalASN, PeerASN, PeerIP, SrcIP, Password, NetworkIPv4Private string
}

// bgp returns the keys in the words of package annotations. The CCM 3.x has none for multihop; it stands beside the key of the peer's address.
func (k Keys) bgp() annotations.NodeKeys {
	out := annotations.NodeKeys{NodeASN: k.LocalASN, SourceIP: k.SrcIP, PeerASN: k.PeerASN, PeerIP: k.PeerIP, Password: k.Password}
	if before, ok := strings.CutSuffix(k.PeerIP, annotations.PeerIP); ok {
		out.Multihop = before + annotations.PeerMultihop
	}
	return out
}

// DefaultKeys are the keys of the Equinix CCM from 3.3 on.
func DefaultKeys() Keys {
	k := annotations.Indexed.Keys(annotations.EquinixPrefix)
	return Keys{
		LocalASN: k.NodeASN, PeerASN: k.PeerASN, PeerIP: k.PeerIP, SrcIP: k.SourceIP, Password: k.Password,
		NetworkIPv4Private: annotations.EquinixPrefix + "/network-4-private",
	}
}

// setting is one key of the file with the environment variable that beats it.
type setting struct {
	key, env string
	set      func(c *Config, text string) error
}

func settings() []setting {
	text := func(field func(*Config) *string) func(*Config, string) error {
		return func(c *Config, v string) error { *field(c) = v; return nil }
	}
	return []setting{
		{"apiKey", "METAL_API_KEY", text(func(c *Config) *string { return &c.Client.Token })},
		{"apiKeyFile", "METAL_API_KEY_FILE", setTokenFile},
		{"projectId", "METAL_PROJECT_ID", text(func(c *Config) *string { return &c.Client.Project })},
		{"base-url", "", text(func(c *Config) *string { return &c.Client.BaseURL })},
		{"metro", "METAL_METRO_NAME", text(func(c *Config) *string { return &c.Metro })},
		{"facility", "METAL_FACILITY_NAME", text(func(c *Config) *string { return &c.Facility })},
		{"localASN", "METAL_LOCAL_ASN", setASN},
		{"bgpPass", "METAL_BGP_PASS", text(func(c *Config) *string { return &c.BGPPassword })},
		{"eipTag", "METAL_EIP_TAG", text(func(c *Config) *string { return &c.EIPTag })},
		{"apiServerPort", "METAL_API_SERVER_PORT", setPort},
		{"eipHealthCheckUseHostIP", "METAL_EIP_HEALTH_CHECK_USE_HOST_IP", setUseHostIP},
		{"bgpNodeSelector", "METAL_BGP_NODE_SELECTOR", setNodes},
		{"loadBalancer", "METAL_LOAD_BALANCER", setLoadBalancer},
		{"annotationLocalASN", "METAL_ANNOTATION_LOCAL_ASN", text(func(c *Config) *string { return &c.Keys.LocalASN })},
		{"annotationPeerASN", "METAL_ANNOTATION_PEER_ASN", text(func(c *Config) *string { return &c.Keys.PeerASN })},
		{"annotationPeerIP", "METAL_ANNOTATION_PEER_IP", text(func(c *Config) *string { return &c.Keys.PeerIP })},
		{"annotationSrcIP", "METAL_ANNOTATION_SRC_IP", text(func(c *Config) *string { return &c.Keys.SrcIP })},
		{"annotationBGPPass", "METAL_ANNOTATION_BGP_PASS", text(func(c *Config) *string { return &c.Keys.Password })},
		{"annotationNetworkIPv4Private", "METAL_ANNOTATION_NETWORK_IPV4_PRIVATE", text(func(c *Config) *string { return &c.Keys.NetworkIPv4Private })},
		{"annotationEIPMetro", "METAL_ANNOTATION_EIP_METRO", text(func(c *Config) *string { return &c.EIPMetroKey })},
		{"annotationEIPFacility", "METAL_ANNOTATION_EIP_FACILITY", text(func(c *Config) *string { return &c.EIPFacilityKey })},
		{"loadBalancerID", "METAL_LOAD_BALANCER_ID", setLoadBalancerID},
	}
}

// ParseConfig reads the file's text, JSON or YAML (keys match without regard to case, as they always did), and the environment,
// which beats it. Every wrong or unknown key is reported in one error, by name; the values of apiKey and bgpPass are in none.
func ParseConfig(file []byte, getenv func(string) string) (Config, error) {
	c := Config{LocalASN: 65000, Keys: DefaultKeys(), BGPNodes: labels.Everything(), EIPMetroKey: EIPMetro, EIPFacilityKey: EIPFacility}
	values, errs := readFile(file)
	for _, s := range settings() {
		source, v := "key "+s.key, values[strings.ToLower(s.key)]
		if s.env != "" && getenv(s.env) != "" {
			source, v = s.env, getenv(s.env)
		}
		delete(values, strings.ToLower(s.key))
		if v == "" {
			continue
		}
		if err := s.set(&c, v); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		errs = append(errs, fmt.Errorf("key %s: unknown; known are %s", key, knownKeys()))
	}
	if len(c.BGPPassword) > annotations.MaxPassword {
		errs = append(errs, fmt.Errorf("key bgpPass: longer than %d bytes", annotations.MaxPassword))
	}
	_, err := NewClient(c.Client)
	return c, errors.Join(append(errs, err, c.Keys.validate())...)
}

// readFile returns the file's values as text, by lower-case key. Numbers and booleans count as the text that they were written as.
func readFile(file []byte) (map[string]string, []error) {
	raw, err := yaml.YAMLToJSONStrict(file)
	if err != nil {
		return nil, []error{errors.New("the configuration file is neither JSON nor YAML")} // the parser's own text could quote a secret
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, []error{errors.New("the configuration file is not a set of keys and values")}
	}
	values := map[string]string{}
	var errs []error
	for key, v := range fields {
		var s string
		switch {
		case json.Unmarshal(v, &s) == nil: // also null, as ""
		case bytes.ContainsAny(v[:1], "{["):
			errs = append(errs, fmt.Errorf("key %s: a single value is expected", key))
		default:
			s = string(v)
		}
		values[strings.ToLower(key)] = s
	}
	return values, errs
}

func knownKeys() string {
	var keys []string
	for _, s := range settings() {
		keys = append(keys, s.key)
	}
	return strings.Join(keys, ", ")
}

// setTokenFile reads the token alone from a file, such as a Secret's key, so that it needn't stand among the rest.
func setTokenFile(c *Config, v string) error {
	if c.Client.Token != "" {
		return errors.New("apiKey (METAL_API_KEY) is set too; use one of them")
	}
	token, err := os.ReadFile(v)
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	c.Client.Token = strings.TrimSpace(string(token))
	return nil
}

func setLoadBalancerID(*Config, string) error {
	return errors.New("the vendor's managed load balancer is not supported; use eipTag for the control plane")
}

func setASN(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not an AS number, 1 to 4294967295", v)
	}
	c.LocalASN = uint32(n)
	return nil
}

func setPort(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is not a port, 0 to 65535", v)
	}
	c.APIServerPort = uint16(n)
	return nil
}

func setUseHostIP(c *Config, v string) (err error) {
	if c.HealthCheckUseHostIP, err = strconv.ParseBool(v); err != nil {
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

func setNodes(c *Config, v string) error {
	selector, err := labels.Parse(v)
	if err != nil {
		return fmt.Errorf("%q is not a label selector: %w", v, err)
	}
	c.BGPNodes = selector
	return nil
}

func setLoadBalancer(c *Config, v string) error {
	kind, _, _ := strings.Cut(v, ":")
	switch LoadBalancer(kind) {
	case KubeVIP, Empty:
		c.LoadBalancer = LoadBalancer(kind)
		return nil
	}
	return fmt.Errorf("%q is not supported; use kube-vip:// (the vip program announces) or empty:// (something else does)", v)
}

func (k Keys) validate() error {
	var errs []error
	for _, key := range []string{k.LocalASN, k.PeerASN, k.PeerIP, k.SrcIP, k.Password, k.NetworkIPv4Private} {
		for _, problem := range validation.IsQualifiedName(strings.ReplaceAll(key, annotations.IndexMark, "0")) {
			errs = append(errs, fmt.Errorf("annotation key %q: %s", key, problem))
		}
	}
	_, err := k.bgp().Indexed()
	return errors.Join(append(errs, err)...)
}
