package annotations

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Annotations on a Node that carry its BGP configuration. Each stands behind a prefix chosen by the operator, such as
// metal.equinix.com, as <prefix>/<key> (one set of peers) or as <prefix>/bgp-peers-N-<key> (N from 0, a peer each).
// Written by the CCM, or by whoever owns the network, all keys of a Node in one patch.
const (
	// NodeASN is the local AS number. Needed.
	NodeASN = "node-asn"
	// SourceIP is the source address of the session, and the router ID when it is IPv4. Needed.
	SourceIP = "src-ip"
	// PeerASN is the peer's AS number. Needed.
	PeerASN = "peer-asn"
	// PeerIP is the peer's address, or a comma list of addresses. Needed.
	PeerIP = "peer-ip"
	// BGPPassword is the TCP MD5 password (RFC 2385), in base64.
	BGPPassword = "bgp-pass"
	// PeerMultihop is "true" when the peer is not on a link of the node, else "false" or absent.
	PeerMultihop = "peer-multi-hop"

	// EquinixPrefix is the prefix under which the Equinix Metal CCM writes.
	EquinixPrefix = "metal.equinix.com"
	// NodeBGPPrefix is the prefix under which the CCM's node-bgp controller writes unless told otherwise.
	NodeBGPPrefix = "bgp.daymark.io"
	// NodeBGPKeys lists, with commas between, the keys that the node-bgp controller wrote on the Node: those and no others it removes.
	NodeBGPKeys = "daymark.io/node-bgp-keys"

	indexedPrefix = "bgp-peers-"
)

// MaxPassword is how many bytes a password has at most: TCP_MD5SIG_MAXKEYLEN of linux/tcp.h.
const MaxPassword = 80

const (
	maxNodePeers = 64
	maxPeerIndex = 9999
)

// ErrIncomplete is in the error of [ParseNodeBGP] when needed keys are missing, also when there is none at all.
var ErrIncomplete = errors.New("BGP annotations are incomplete")

// Password is a peer's password. It prints as stars; converting it to string gives the text.
type Password string

// String returns stars, or nothing for no password.
func (p Password) String() string {
	if p == "" {
		return ""
	}
	return "***"
}

// GoString returns what String returns.
func (p Password) GoString() string { return p.String() }

// MarshalText returns what String returns.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// LogValue returns what String returns.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// NodePeer is one BGP session of a Node, as its annotations say it.
type NodePeer struct {
	LocalASN uint32
	// Source is the source address of the session, unmapped and without a zone. The first IPv4 one is the router ID. A
	// source of the other family than Peer is the router ID only.
	Source  netip.Addr
	PeerASN uint32
	Peer    netip.Addr // unmapped, without a zone
	// Password is the decoded MD5 password, at most 80 bytes; empty for none.
	Password Password
	Multihop bool
}

// NodeBGP is the BGP configuration of a Node: its peers in the order of numeric index, then address, without two of the same address.
type NodeBGP struct {
	Peers []NodePeer
}

// ParseNodeBGP reads the BGP configuration under prefix from the annotations of a Node. Both generations of keys make one set of peers:
// where both name a peer, the indexed keys count. An index without a node-asn or src-ip of its own takes the plain one.
//
// An error with [ErrIncomplete] comes with the peers that are complete and names every missing key: who has not peered yet waits, who has
// follows the peers. Any other error names every wrong key and value (but a password's) and comes with no peers.
func ParseNodeBGP(prefix string, annotations map[string]string) (NodeBGP, error) {
	groups, errs := nodeGroups(prefix, annotations)
	var set NodeBGP
	var missing []string
	from := map[netip.Addr]*nodeGroup{}
	for _, g := range groups {
		if m := g.missing(); len(m) > 0 {
			missing = append(missing, m...)
			continue
		}
		peers, err := g.parse()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, p := range peers {
			first, taken := from[p.Peer]
			switch {
			case !taken:
				from[p.Peer] = g
				set.Peers = append(set.Peers, p)
			case first != g && !g.plain() && !slices.Contains(set.Peers, p):
				errs = append(errs, fmt.Errorf("annotation %s=%q: %s says otherwise of the same peer", g.key(PeerIP), g.values[PeerIP], first.key(PeerIP)))
			}
		}
	}
	if len(set.Peers) > maxNodePeers {
		errs = append(errs, fmt.Errorf("annotations %s/: more than %d peers", strings.TrimSuffix(prefix, "/"), maxNodePeers))
	}
	switch {
	case len(errs) > 0:
		return NodeBGP{}, errors.Join(errs...)
	case len(missing) > 0:
		return set, fmt.Errorf("%w: missing %s", ErrIncomplete, strings.Join(missing, ", "))
	case len(set.Peers) == 0:
		g := nodeGroup{prefix: trimPrefix(prefix), index: plainIndex}
		return set, fmt.Errorf("%w: missing %s", ErrIncomplete, strings.Join(g.missing(), ", "))
	}
	return set, nil
}

// Format returns the annotations that [ParseNodeBGP] reads back as b, with indexed keys from 0 in the order of Peers.
func (b NodeBGP) Format(prefix string) map[string]string {
	out := map[string]string{}
	for i, p := range b.Peers {
		g := nodeGroup{prefix: trimPrefix(prefix), index: i}
		out[g.key(NodeASN)] = strconv.FormatUint(uint64(p.LocalASN), 10)
		out[g.key(SourceIP)] = p.Source.String()
		out[g.key(PeerASN)] = strconv.FormatUint(uint64(p.PeerASN), 10)
		out[g.key(PeerIP)] = p.Peer.String()
		if p.Password != "" {
			out[g.key(BGPPassword)] = base64.StdEncoding.EncodeToString([]byte(p.Password))
		}
		if p.Multihop {
			out[g.key(PeerMultihop)] = "true"
		}
	}
	return out
}

// IsNodeBGPKey reports whether key is one of those that [ParseNodeBGP] reads under prefix, of either generation.
func IsNodeBGPKey(prefix, key string) bool {
	_, _, ok, err := splitNodeKey(trimPrefix(prefix), key)
	return ok && err == nil
}

func trimPrefix(prefix string) string { return strings.TrimSuffix(prefix, "/") }

// plainIndex is the index of the keys without one. They come last, so that indexed keys count before them.
const plainIndex = maxPeerIndex + 1

// nodeGroup is the keys of one index, or the plain ones.
type nodeGroup struct {
	prefix string
	index  int
	values map[string]string // by the last part of the key, without spaces around
}

func (g *nodeGroup) plain() bool { return g.index == plainIndex }

func (g *nodeGroup) key(name string) string {
	if g.plain() {
		return g.prefix + "/" + name
	}
	return g.prefix + "/" + indexedPrefix + strconv.Itoa(g.index) + "-" + name
}

// nodeGroups returns the groups in order, the plain ones last.
func nodeGroups(prefix string, annotations map[string]string) ([]*nodeGroup, []error) {
	prefix = trimPrefix(prefix)
	byIndex := map[int]*nodeGroup{}
	var errs []error
	for key, value := range annotations {
		index, name, ok, err := splitNodeKey(prefix, key)
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", key, err))
		}
		if !ok || err != nil {
			continue
		}
		if byIndex[index] == nil {
			byIndex[index] = &nodeGroup{prefix: prefix, index: index, values: map[string]string{}}
		}
		byIndex[index].values[name] = strings.TrimSpace(value)
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if plain := byIndex[plainIndex]; plain != nil && len(byIndex) > 1 {
		for _, g := range byIndex {
			g.inherit(plain)
		}
		if plain.values[PeerIP] == "" && plain.values[PeerASN] == "" {
			delete(byIndex, plainIndex) // only what the others take from it
		}
	}
	groups := make([]*nodeGroup, 0, len(byIndex))
	for _, g := range byIndex {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *nodeGroup) int { return cmp.Compare(a.index, b.index) })
	return groups, errs
}

// splitNodeKey says which index and which key a key is; not ok for annotations that are none of ours.
func splitNodeKey(prefix, key string) (index int, name string, ok bool, err error) {
	rest, found := strings.CutPrefix(key, prefix+"/")
	if !found {
		return 0, "", false, nil
	}
	index = plainIndex
	name = rest
	if indexed, found := strings.CutPrefix(rest, indexedPrefix); found {
		var number string
		if number, name, found = strings.Cut(indexed, "-"); !found {
			return 0, "", false, nil
		}
		if index, err = strconv.Atoi(number); err != nil || index < 0 || index > maxPeerIndex || strconv.Itoa(index) != number {
			err = fmt.Errorf("index %q is not a number from 0 to %d", number, maxPeerIndex)
		}
	}
	switch name {
	case NodeASN, SourceIP, PeerASN, PeerIP, BGPPassword, PeerMultihop:
		return index, name, true, err
	}
	return 0, "", false, nil
}

// inherit fills in what belongs to the node more than to a peer.
func (g *nodeGroup) inherit(plain *nodeGroup) {
	for _, name := range []string{NodeASN, SourceIP} {
		if value := plain.values[name]; g.values[name] == "" && value != "" {
			g.values[name] = value
		}
	}
}

func (g *nodeGroup) missing() []string {
	var keys []string
	for _, name := range []string{NodeASN, SourceIP, PeerASN, PeerIP} {
		if g.values[name] == "" {
			keys = append(keys, g.key(name))
		}
	}
	return keys
}
