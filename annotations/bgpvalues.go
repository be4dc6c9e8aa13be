package annotations

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parse reads the values of a group that misses nothing; its peers are sorted by address.
func (g *nodeGroup) parse() ([]NodePeer, error) {
	var errs []error
	fail := func(name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s=%q: %w", g.key(name), g.values[name], err))
		}
	}
	var p NodePeer
	var err error
	p.LocalASN, err = parseASN(g.values[NodeASN])
	fail(NodeASN, err)
	p.PeerASN, err = parseASN(g.values[PeerASN])
	fail(PeerASN, err)
	p.Source, err = parseUnicast(g.values[SourceIP])
	fail(SourceIP, err)
	peers, err := parsePeerAddresses(g.values[PeerIP])
	fail(PeerIP, err)
	if p.Password, err = parsePassword(g.values[BGPPassword]); err != nil {
		errs = append(errs, fmt.Errorf("annotation %s: %w", g.key(BGPPassword), err))
	}
	switch g.values[PeerMultihop] {
	case "true":
		p.Multihop = true
	case "false", "":
	default:
		fail(PeerMultihop, errors.New(`neither "true" nor "false"`))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	out := make([]NodePeer, len(peers))
	for i, addr := range peers {
		out[i] = p
		out[i].Peer = addr
	}
	return out, nil
}

// parseASN reads an AS number of 4 bytes (RFC 6793). 0 is reserved (RFC 7607), as are 23456 (RFC 6793) and the last one (RFC 7300).
func parseASN(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n == 23456 || n == 1<<32-1 {
		return 0, errors.New("not an AS number")
	}
	return uint32(n), nil
}

func parseUnicast(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	case addr.Zone() != "" || addr.Unmap().IsUnspecified() || addr.Unmap().IsMulticast() || addr.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, fmt.Errorf("%q is not an address of one host", text)
	}
	return addr.Unmap(), nil
}

func parsePeerAddresses(value string) ([]netip.Addr, error) {
	if strings.Count(value, ",") >= maxNodePeers {
		return nil, fmt.Errorf("more than %d peers", maxNodePeers)
	}
	var addrs []netip.Addr
	var errs []error
	for text := range strings.SplitSeq(value, ",") {
		addr, err := parseUnicast(strings.TrimSpace(text))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		addrs = append(addrs, addr)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), errors.Join(errs...)
}

// parsePassword never puts the value into its error.
func parsePassword(value string) (Password, error) {
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", errors.New("not base64")
	}
	if len(raw) > MaxPassword {
		return "", fmt.Errorf("longer than %d bytes", MaxPassword)
	}
	return Password(raw), nil
}
