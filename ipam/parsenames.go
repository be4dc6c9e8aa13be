package ipam

import (
	"fmt"
	"strings"

	"daymark/internal/typo"
)

// split returns the prefix and the name that key consists of; "" and "" if it has no known prefix.
func split(key string) (prefix, name string) {
	for _, prefix := range []string{prefixCIDR, prefixRange, prefixShare, prefixInterface, prefixQuota} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			return prefix, name
		}
	}
	return "", ""
}

// isNamespace follows RFC 1123, 2.1, as the API server does for namespaces.
func isNamespace(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-') })
}

// wrongLink returns what is wrong with text as the name of a network interface (Linux, dev_valid_name), or "". No name is right: it means
// no interface, even where there is one for Global.
func wrongLink(text string) string {
	switch {
	case len(text) > 15:
		return "longer than the 15 bytes that a network interface's name has"
	case text == "." || text == ".." || strings.ContainsAny(text, "/: \t\n"):
		return "can't be the name of a network interface"
	}
	return ""
}

// warn adds what is right but hardly meant.
func (p *parser) warn(data map[string]string) {
	p.warnOverlaps()
	for _, pool := range p.config.Pools {
		for key, list := range map[string][]Element{prefixCIDR: pool.CIDR, prefixRange: pool.Range} {
			p.warnDHCP(key+pool.Name, list)
		}
		if len(pool.CIDR) > 0 && len(pool.Range) > 0 && p.config.Precedence != Legacy {
			p.wrong(Problem{
				Key: prefixRange + pool.Name, Text: strings.TrimSpace(data[prefixRange+pool.Name]), Warning: true,
				Wrong: fmt.Sprintf("makes one pool with %s%s; kube-vip-cloud-provider ignores it", prefixCIDR, pool.Name),
			})
		}
	}
}

func (p *parser) warnDHCP(key string, list []Element) {
	for _, marker := range list {
		if !marker.DHCP() {
			continue
		}
		for _, e := range list {
			if !e.DHCP() && e.First.BitLen() == marker.First.BitLen() {
				p.wrong(Problem{
					Key: key, Text: marker.String(), Warning: true,
					Wrong: "means DHCP for every Service, so that the key's other addresses of its family are only given on request",
				})
				break
			}
		}
	}
}

// nearest returns `, did you mean "cidr-shop"?` for a key that is little different from a known one, else "".
func nearest(key string) string {
	best, distance := "", 3
	try := func(known, candidate string) {
		if d := typo.Distance(known, candidate); d < distance {
			best, distance = known, d
		}
	}
	for _, known := range []string{keyExclude, keyOrder, keySkipEnds, keySpill, keyPrecedence, keyOutside} {
		try(known, key)
	}
	for _, prefix := range []string{prefixCIDR, prefixRange, prefixShare, prefixInterface, prefixQuota} {
		for i := range key {
			if key[i] == '-' || key[i] == '_' {
				if d := typo.Distance(prefix, key[:i]+"-"); d < distance {
					best, distance = prefix+key[i+1:], d
				}
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}
