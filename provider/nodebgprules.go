package provider

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"daymark/annotations"
)

// NodeBGPRules say which Nodes get which BGP configuration: the key nodeBGP of the cloud config.
type NodeBGPRules struct {
	// Prefix is that of the annotations, as agents are told by `annotation`.
	Prefix string
	Rules  []NodeBGPRule
}

// NodeBGPRule is the configuration of the Nodes that it selects. A Node gets the first rule that fits.
type NodeBGPRule struct {
	Name  string // for logs and Events
	Nodes labels.Selector
	// FirstASN to LastASN are the local AS numbers to draw from, no two Nodes the same; with one number all Nodes have that.
	FirstASN, LastASN uint32
	Peers             []NodeBGPPeer
	// Secret is namespace and name of the Secret whose key password is the MD5 password, or "".
	Secret   string
	Multihop bool
}

// NodeBGPPeer is a router of a rule.
type NodeBGPPeer struct {
	Addr netip.Addr
	ASN  uint32
}

// draws reports whether each Node has an AS of its own.
func (r NodeBGPRule) draws() bool { return r.FirstASN != r.LastASN }

// nodeBGPFile is how the rules are written.
type nodeBGPFile struct {
	NodeBGP *struct {
		Prefix string `json:"prefix"`
		Rules  []struct {
			Name           string  `json:"name"`
			Nodes          string  `json:"nodes"`
			LocalASN       asnText `json:"localASN"`
			PasswordSecret string  `json:"passwordSecret"`
			Multihop       bool    `json:"multihop"`
			Peers          []struct {
				Address string  `json:"address"`
				ASN     asnText `json:"asn"`
			} `json:"peers"`
		} `json:"rules"`
	} `json:"nodeBGP"`
}

// asnText is a number, or text such as a range.
type asnText string

// UnmarshalJSON takes both.
func (a *asnText) UnmarshalJSON(b []byte) error {
	*a = asnText(strings.Trim(string(b), `"`))
	return nil
}

// ParseNodeBGPRules reads the key nodeBGP of a cloud config in YAML or JSON; other keys are others' business. Without the key there are no
// rules. Every fault is reported, with its place.
func ParseNodeBGPRules(text []byte) (NodeBGPRules, error) {
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return NodeBGPRules{}, fmt.Errorf("reading the cloud config: %w", err)
	}
	if all["nodeBGP"] == nil {
		return NodeBGPRules{}, nil
	}
	only, err := yaml.Marshal(map[string]any{"nodeBGP": all["nodeBGP"]})
	if err != nil {
		return NodeBGPRules{}, fmt.Errorf("reading the cloud config: %w", err)
	}
	var file nodeBGPFile
	if err := yaml.UnmarshalStrict(only, &file); err != nil {
		return NodeBGPRules{}, fmt.Errorf("reading nodeBGP: %w", err)
	}
	rules := NodeBGPRules{Prefix: cmp.Or(strings.TrimSuffix(file.NodeBGP.Prefix, "/"), annotations.NodeBGPPrefix)}
	var errs []error
	for _, problem := range validation.IsDNS1123Subdomain(rules.Prefix) {
		errs = append(errs, fmt.Errorf("nodeBGP.prefix %q: %s", rules.Prefix, problem))
	}
	for i, r := range file.NodeBGP.Rules {
		at := fmt.Sprintf("nodeBGP.rules[%d]", i)
		fail := func(key, value string, err any) { errs = append(errs, fmt.Errorf("%s.%s %q: %v", at, key, value, err)) }
		rule := NodeBGPRule{Name: cmp.Or(r.Name, strconv.Itoa(i)), Multihop: r.Multihop}
		if rule.Nodes, err = labels.Parse(r.Nodes); err != nil {
			fail("nodes", r.Nodes, err)
		}
		if rule.FirstASN, rule.LastASN, err = parseASNRange(string(r.LocalASN)); err != nil {
			fail("localASN", string(r.LocalASN), err)
		}
		if rule.Secret, err = secretName(r.PasswordSecret); err != nil {
			fail("passwordSecret", r.PasswordSecret, err)
		}
		if len(r.Peers) == 0 || len(r.Peers) > maxRulePeers {
			fail("peers", strconv.Itoa(len(r.Peers)), fmt.Sprintf("not 1 to %d", maxRulePeers))
		}
		for j, p := range r.Peers {
			addr, err := netip.ParseAddr(p.Address)
			if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
				fail(fmt.Sprintf("peers[%d].address", j), p.Address, "not an address of one host")
			}
			asn, last, err := parseASNRange(string(p.ASN))
			if err != nil || asn != last {
				fail(fmt.Sprintf("peers[%d].asn", j), string(p.ASN), "not an AS number")
			}
			peer := NodeBGPPeer{addr.Unmap(), asn}
			if slices.ContainsFunc(rule.Peers, func(o NodeBGPPeer) bool { return o.Addr == peer.Addr }) {
				fail(fmt.Sprintf("peers[%d].address", j), p.Address, "given twice")
			}
			rule.Peers = append(rule.Peers, peer)
		}
		rules.Rules = append(rules.Rules, rule)
	}
	if len(errs) > 0 {
		return NodeBGPRules{}, errors.Join(errs...)
	}
	return rules, nil
}

const maxRulePeers = 16

// parseASNRange reads "65010" or "4200000000-4200000999". 0 (RFC 7607), 23456 (RFC 6793) and the last number (RFC 7300) are none.
func parseASNRange(text string) (first, last uint32, err error) {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	a, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 32)
	b, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 32)
	switch {
	case err1 != nil, err2 != nil, a == 0, b == 1<<32-1, a == 23456 && b == a:
		return 0, 0, errors.New("not an AS number, nor two with a dash between")
	case a > b:
		return 0, 0, errors.New("the first number is above the last")
	}
	return uint32(a), uint32(b), nil
}

// secretName returns "namespace/name", in kube-system unless said otherwise.
func secretName(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	namespace, name, ok := strings.Cut(text, "/")
	if !ok {
		namespace, name = "kube-system", text
	}
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", errors.New("not the name of a Secret, nor namespace/name")
	}
	return namespace + "/" + name, nil
}

// ruleOf returns the first rule that fits a Node's labels.
func (r NodeBGPRules) ruleOf(nodeLabels map[string]string) (NodeBGPRule, bool) {
	i := slices.IndexFunc(r.Rules, func(rule NodeBGPRule) bool { return rule.Nodes.Matches(labels.Set(nodeLabels)) })
	if i < 0 {
		return NodeBGPRule{}, false
	}
	return r.Rules[i], true
}

// secrets returns the Secrets that the rules name, sorted.
func (r NodeBGPRules) secrets() []string {
	var out []string
	for _, rule := range r.Rules {
		if rule.Secret != "" {
			out = append(out, rule.Secret)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
