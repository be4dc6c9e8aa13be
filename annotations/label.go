package annotations

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// LabelLimit is Kubernetes' limit for the value of a label, and for the name in its key, in bytes.
const LabelLimit = 63

// FormatLabelAddresses returns addresses as the value of a label, which may have neither commas nor colons: sorted, joined by "_",
// with "-" for the colons of IPv6 and a zero where an address begins or ends with colons. Of those that don't fit into
// [LabelLimit] the later ones are left out; one of each family always fits.
func FormatLabelAddresses(addrs []netip.Addr) string {
	var out string
	for _, a := range slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare) {
		text := strings.ReplaceAll(a.WithZone("").String(), ":", "-")
		if strings.HasPrefix(text, "-") {
			text = "0" + text
		}
		if strings.HasSuffix(text, "-") {
			text += "0"
		}
		if out != "" {
			text = out + "_" + text
		}
		if len(text) <= LabelLimit {
			out = text
		}
	}
	return out
}

// ParseLabelAddresses reads what [FormatLabelAddresses] writes, in its order; the empty value is no address. What is wrong is named in
// the error, and the rest returned.
func ParseLabelAddresses(value string) ([]netip.Addr, error) {
	if value == "" {
		return nil, nil
	}
	var out []netip.Addr
	var wrong []string
	for text := range strings.SplitSeq(value, "_") {
		if addr, err := netip.ParseAddr(strings.ReplaceAll(text, "-", ":")); err == nil {
			out = append(out, addr)
		} else {
			wrong = append(wrong, text)
		}
	}
	if len(wrong) > 0 {
		return out, fmt.Errorf("label value %q: no addresses: %q", value, wrong)
	}
	return out, nil
}
