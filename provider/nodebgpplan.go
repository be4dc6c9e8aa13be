package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"daymark/annotations"
)

// nodeBGPOf returns the annotations that a rule gives a Node, with asn and password, and what is wrong with the peers that it can't have. It is pure.
func nodeBGPOf(prefix string, node *corev1.Node, rule NodeBGPRule, asn uint32, password string) (map[string]string, error) {
	var set annotations.NodeBGP
	var errs []error
	for _, peer := range rule.Peers {
		source, ok := internalAddr(node, peer.Addr.Is4())
		if !ok {
			errs = append(errs, fmt.Errorf("rule %s: no internal address of the family of peer %s", rule.Name, peer.Addr))
			continue
		}
		set.Peers = append(set.Peers, annotations.NodePeer{
			LocalASN: asn, Source: source, PeerASN: peer.ASN, Peer: peer.Addr, Password: annotations.Password(password), Multihop: rule.Multihop,
		})
	}
	return set.Format(prefix), errors.Join(errs...)
}

// internalAddr returns the Node's first internal address of a family.
func internalAddr(node *corev1.Node, is4 bool) (netip.Addr, bool) {
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(a.Address); err == nil && addr.Unmap().Is4() == is4 {
			return addr.Unmap().WithZone(""), true
		}
	}
	return netip.Addr{}, false
}

// ownedKeys returns the keys that the controller wrote on a Node.
func ownedKeys(node *corev1.Node) []string {
	var out []string
	for key := range strings.SplitSeq(node.Annotations[annotations.NodeBGPKeys], ",") {
		if key = strings.TrimSpace(key); key != "" {
			out = append(out, key)
		}
	}
	return out
}

// errForeign is when somebody else wrote a key that a rule would write otherwise.
var errForeign = errors.New("written by somebody else")

// nodePatch returns the merge patch that gives node the annotations want, and no others of ours; nil when nothing changes. It holds for the version of the Node
// that was looked at. Keys that others wrote are neither changed nor removed, save wanted ones that they had no business with, as owns says.
func nodePatch(node *corev1.Node, want map[string]string, owns func(key string) bool) ([]byte, error) {
	owned := ownedKeys(node)
	change := map[string]any{}
	var record []string
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(want)) {
		have, exists := node.Annotations[key]
		ours := slices.Contains(owned, key) || owns(key)
		if exists && !ours {
			if have != want[key] {
				errs = append(errs, fmt.Errorf("annotation %s: %w", key, errForeign))
			}
			continue
		}
		record = append(record, key)
		if !exists || have != want[key] {
			change[key] = want[key]
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, key := range owned {
		if _, wanted := want[key]; wanted {
			continue
		}
		if _, exists := node.Annotations[key]; exists {
			change[key] = nil
		}
	}
	switch text := strings.Join(record, ","); {
	case text == node.Annotations[annotations.NodeBGPKeys]:
	case text == "":
		change[annotations.NodeBGPKeys] = nil
	default:
		change[annotations.NodeBGPKeys] = text
	}
	if len(change) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion, "annotations": change}})
}

// asns remembers which Node drew which AS number. It belongs to one goroutine.
type asns struct {
	of   map[string]uint32 // by Node
	from map[uint32]string // by number
}

func newASNs() *asns { return &asns{of: map[string]uint32{}, from: map[uint32]string{}} }

// claim takes in that a Node has a number already. The first to claim it has it.
func (a *asns) claim(node string, asn uint32) {
	if holder, taken := a.from[asn]; taken && holder != node {
		return
	}
	a.release(node)
	a.of[node], a.from[asn] = asn, node
}

func (a *asns) release(node string) {
	if asn, ok := a.of[node]; ok {
		delete(a.from, asn)
		delete(a.of, node)
	}
}

// draw returns the number of a Node: the one it has if that is in the range; else the first free one from a place that its name determines, so that a Node
// mostly gets the same again even if everything about it was forgotten.
func (a *asns) draw(node string, first, last uint32) (uint32, bool) {
	if asn, ok := a.of[node]; ok && first <= asn && asn <= last {
		return asn, true
	}
	a.release(node)
	h := fnv.New32a()
	h.Write([]byte(node))
	size := uint64(last-first) + 1
	start := uint64(h.Sum32()) % size
	for i := range min(size, uint64(len(a.from))+2) { // one of so many is free, 23456 aside
		asn := first + uint32((start+i)%size)
		if _, taken := a.from[asn]; !taken && asn != 23456 {
			a.of[node], a.from[asn] = asn, node
			return asn, true
		}
	}
	return 0, false
}

// writtenASN returns the local AS number that the controller wrote on a Node, if it did.
func writtenASN(prefix string, node *corev1.Node) (uint32, bool) {
	mine := map[string]string{}
	for _, key := range ownedKeys(node) {
		if value, ok := node.Annotations[key]; ok {
			mine[key] = value
		}
	}
	set, _ := annotations.ParseNodeBGP(prefix, mine)
	if len(set.Peers) == 0 {
		return 0, false
	}
	return set.Peers[0].LocalASN, true
}
