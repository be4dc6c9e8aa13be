package ipam

import (
	"fmt"
	"net/netip"
	"strings"
)

// The keys of the ConfigMap; a prefix is followed by a namespace or "global".
const (
	prefixCIDR      = "cidr-"
	prefixRange     = "range-"
	prefixShare     = "allow-share-"
	prefixInterface = "interface-"
	prefixQuota     = "quota-"

	keyExclude    = "exclude"
	keyOrder      = "search-order"
	keySkipEnds   = "skip-end-ips-in-cidr"
	keySpill      = "spill-to-global"
	keyPrecedence = "pool-precedence"
	keyOutside    = "allow-outside-pools"
)

// Problem is one wrong value of the ConfigMap, named so that it can be found.
type Problem struct {
	Key string
	// Element counts from 1 in a comma list; 0 means the key or its value as a whole.
	Element int
	// Offset is where Text begins in the value, in bytes.
	Offset int
	// Text is the element as it is written, without the spaces around it.
	Text string
	// Wrong is what is wrong with it.
	Wrong string
	// Warning tells that the value is in force nevertheless.
	Warning bool
}

// Error returns a sentence such as `cidr-shop, element 2, "10.0.0.0/33": prefix length out of range`.
func (p Problem) Error() string {
	if p.Element == 0 {
		return fmt.Sprintf("%s: %q: %s", p.Key, p.Text, p.Wrong)
	}
	return fmt.Sprintf("%s, element %d, %q: %s", p.Key, p.Element, p.Text, p.Wrong)
}

// Parse reads the data of the ConfigMap, and returns every problem, sorted by key and element. The Config holds whatever is right;
// [Allocator.SetConfig] lets keys with a problem keep what they said before.
func Parse(data map[string]string) (Config, []Problem) { return Config{}, nil }

// ParseElement reads a CIDR, a range (first-last) or an address.
func ParseElement(text string) (Element, error) { return Element{}, fmt.Errorf("%q: not read", text) }

// String returns the text that [ParseElement] reads back.
func (e Element) String() string {
	if e.CIDR {
		if p, ok := prefixOf(e.First, e.Last); ok {
			return p.String()
		}
	}
	return strings.Join([]string{e.First.String(), e.Last.String()}, "-")
}

func prefixOf(first, last netip.Addr) (netip.Prefix, bool) { return netip.Prefix{}, false }
