package annotations

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// IndexMark stands in a key of [NodeKeys] for a peer's index.
const IndexMark = "{{n}}"

// NodeKeys are the keys under which a Node's BGP configuration is written, where an operator chose them one by one. With [IndexMark] in each they make the
// newer generation, a peer for each index from 0; without, the older one: one set of peers. [ParseNodeBGP] reads them back when they are those of a prefix.
type NodeKeys struct {
	NodeASN, SourceIP, PeerASN, PeerIP, Password string
	Multihop                                     string // "" for not writing it
}

// Keys returns the keys of a prefix, such as [EquinixPrefix], with an index or without.
func (g Generation) Keys(prefix string) NodeKeys {
	key := func(name string) string {
		if g == Indexed {
			name = indexedPrefix + IndexMark + "-" + name
		}
		return trimPrefix(prefix) + "/" + name
	}
	return NodeKeys{
		NodeASN: key(NodeASN), SourceIP: key(SourceIP), PeerASN: key(PeerASN), PeerIP: key(PeerIP), Password: key(BGPPassword), Multihop: key(PeerMultihop),
	}
}

// Generation is one of the two ways to write a Node's BGP configuration.
type Generation int

// The generations of keys.
const (
	Indexed Generation = iota // bgp-peers-N-<key>, a peer each
	Plain                     // <key>, one set of peers
)

func (k NodeKeys) all() []string {
	return []string{k.NodeASN, k.SourceIP, k.PeerASN, k.PeerIP, k.Password, k.Multihop}
}

// Indexed reports whether the keys are of the newer generation. The error names the keys when only some of them have an [IndexMark], or one is empty or given twice.
func (k NodeKeys) Indexed() (bool, error) {
	indexed, seen := 0, map[string]bool{}
	keys := k.all()
	if k.Multihop == "" {
		keys = keys[:len(keys)-1]
	}
	for _, key := range keys {
		if key == "" || seen[key] {
			return false, fmt.Errorf("annotation keys %s: one is empty or there twice", strings.Join(keys, ", "))
		}
		seen[key] = true
		if strings.Contains(key, IndexMark) {
			indexed++
		}
	}
	if indexed != 0 && indexed != len(keys) {
		return false, fmt.Errorf("annotation keys: %s must stand in all of %s, or in none", IndexMark, strings.Join(keys, ", "))
	}
	return indexed > 0, nil
}

// Has reports whether key is one of k, with any index.
func (k NodeKeys) Has(key string) bool {
	for _, one := range k.all() {
		before, after, indexed := strings.Cut(one, IndexMark)
		if !indexed {
			if one != "" && one == key {
				return true
			}
			continue
		}
		rest, ok := strings.CutPrefix(key, before)
		if !ok {
			continue
		}
		if number, ok := strings.CutSuffix(rest, after); ok {
			if n, err := strconv.Atoi(number); err == nil && n >= 0 && strconv.Itoa(n) == number {
				return true
			}
		}
	}
	return false
}

// FormatKeys returns the annotations that say b under k, which [NodeKeys.Indexed] must accept. Keys without index can say one AS, source and password for all
// peers: the error names the peers that differ from the first, which are left out. A password is in no error.
func (b NodeBGP) FormatKeys(k NodeKeys) (map[string]string, error) {
	out := map[string]string{}
	if indexed, err := k.Indexed(); err != nil {
		return nil, err
	} else if indexed {
		for i, p := range b.Peers {
			p.write(out, k.at(i), p.Peer.String())
		}
		return out, nil
	}
	if len(b.Peers) == 0 {
		return out, nil
	}
	first := b.Peers[0]
	var addrs, others []string
	for _, p := range b.Peers {
		addr := p.Peer.String()
		if p.Peer = first.Peer; p != first {
			others = append(others, addr)
			continue
		}
		addrs = append(addrs, addr)
	}
	first.write(out, k, strings.Join(addrs, ","))
	if len(others) > 0 {
		return out, fmt.Errorf("peers %s: keys without %s can't say another AS, source or password than that of %s", strings.Join(others, ", "), IndexMark, first.Peer)
	}
	return out, nil
}

func (k NodeKeys) at(index int) NodeKeys {
	n := strconv.Itoa(index)
	for _, key := range []*string{&k.NodeASN, &k.SourceIP, &k.PeerASN, &k.PeerIP, &k.Password, &k.Multihop} {
		*key = strings.ReplaceAll(*key, IndexMark, n)
	}
	return k
}

func (p NodePeer) write(out map[string]string, k NodeKeys, peers string) {
	out[k.NodeASN] = strconv.FormatUint(uint64(p.LocalASN), 10)
	out[k.SourceIP] = p.Source.String()
	out[k.PeerASN] = strconv.FormatUint(uint64(p.PeerASN), 10)
	out[k.PeerIP] = peers
	if p.Password != "" {
		out[k.Password] = base64.StdEncoding.EncodeToString([]byte(p.Password))
	}
	if p.Multihop && k.Multihop != "" {
		out[k.Multihop] = "true"
	}
}

// Check reports everything in p that [ParseNodeBGP] would refuse to read back, for who takes it from elsewhere than annotations; never the password.
func (p NodePeer) Check() error {
	var errs []error
	for _, asn := range []uint32{p.LocalASN, p.PeerASN} {
		if _, err := parseASN(strconv.FormatUint(uint64(asn), 10)); err != nil {
			errs = append(errs, fmt.Errorf("AS %d: %w", asn, err))
		}
	}
	for _, addr := range []netip.Addr{p.Source, p.Peer} {
		if _, err := parseUnicast(addr.String()); err != nil {
			errs = append(errs, err)
		}
	}
	if len(p.Password) > MaxPassword {
		errs = append(errs, fmt.Errorf("password: longer than %d bytes", MaxPassword))
	}
	return errors.Join(errs...)
}
