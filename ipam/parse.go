package ipam

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
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
	// Text is the element or value as it is written, without the spaces around it.
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

// parser collects a Config and what is wrong with its source.
type parser struct {
	config   Config
	pools    map[string]Pool
	listed   []listed
	problems []Problem
}

// Parse reads the data of the ConfigMap, and returns every problem, sorted by key and element. The Config holds whatever is right;
// [Allocator.SetConfig] lets keys with a problem keep what they said before.
func Parse(data map[string]string) (Config, []Problem) {
	p := parser{
		config: Config{Share: map[string]bool{}, Interfaces: map[string]string{}, Quotas: map[string]int{}, broken: map[string]bool{}},
		pools:  map[string]Pool{},
	}
	for key, value := range data {
		p.key(key, value)
	}
	for _, pool := range p.pools {
		p.config.Pools = append(p.config.Pools, pool)
	}
	slices.SortFunc(p.config.Pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	p.warn(data)
	slices.SortFunc(p.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.Element, b.Element), strings.Compare(a.Wrong, b.Wrong))
	})
	return p.config, p.problems
}

func (p *parser) key(key, value string) {
	text := strings.TrimSpace(value)
	switch key {
	case keyExclude:
		p.config.Exclude = p.elements(key, value, false)
	case keyOrder:
		// kube-vip-cloud-provider takes whatever is not "desc" for ascending.
		p.config.Order = oneOf(p, key, text, map[string]Order{"desc": Descending, "asc": Ascending, "": Ascending})
	case keyPrecedence:
		p.config.Precedence = oneOf(p, key, text, map[string]Precedence{"legacy": Legacy, "namespace": NamespaceFirst, "": NamespaceFirst})
	case keySkipEnds:
		p.config.SkipEnds = p.boolean(key, text)
	case keySpill:
		p.config.SpillToGlobal = p.boolean(key, text)
	case keyOutside:
		p.config.AllowOutsidePools = p.boolean(key, text)
	default:
		p.named(key, value, text)
	}
}

// named reads a key that ends with a namespace's name.
func (p *parser) named(key, value, text string) {
	prefix, name := split(key)
	if prefix == "" {
		p.wrong(Problem{Key: key, Text: text, Wrong: "unknown key" + nearest(key), Warning: true})
		return
	}
	if !isNamespace(name) {
		p.wrong(Problem{Key: key, Text: text, Wrong: fmt.Sprintf("%q can't be the name of a namespace", name)})
		return
	}
	switch prefix {
	case prefixCIDR:
		pool := p.pools[name]
		pool.Name, pool.CIDR = name, p.elements(key, value, true)
		p.pools[name] = pool
	case prefixRange:
		pool := p.pools[name]
		pool.Name, pool.Range = name, p.elements(key, value, true)
		p.pools[name] = pool
	case prefixShare:
		p.config.Share[name] = p.boolean(key, text)
	case prefixInterface:
		if wrong := wrongLink(text); wrong != "" {
			p.wrong(Problem{Key: key, Text: text, Wrong: wrong})
			return
		}
		p.config.Interfaces[name] = text
	case prefixQuota:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			p.wrong(Problem{Key: key, Text: text, Wrong: "not a number of addresses"})
			return
		}
		p.config.Quotas[name] = n
	}
}

// elements reads a comma list. It is not nil, for a pool that lists nothing is a pool.
func (p *parser) elements(key, value string, pool bool) []Element {
	out := []Element{}
	if strings.TrimSpace(value) == "" {
		p.wrong(Problem{Key: key, Wrong: "lists no address", Warning: true})
		return out
	}
	offset, n := 0, 0
	for part := range strings.SplitSeq(value, ",") {
		n++
		text := strings.TrimSpace(part)
		at := Problem{Key: key, Element: n, Offset: offset + strings.Index(part, text), Text: text}
		offset += len(part) + 1
		e, err := ParseElement(text)
		if err == nil && pool && !e.DHCP() {
			if what := e.unusable(); what != "" {
				err = fmt.Errorf("no Service can have a %s address", what)
			}
		}
		if err != nil {
			at.Wrong = err.Error()
			p.wrong(at)
			continue
		}
		if _, name := split(key); pool {
			p.listed = append(p.listed, listed{e, name, at})
		}
		out = append(out, e)
	}
	return out
}

// boolean reads what strconv.ParseBool does, as kube-vip-cloud-provider does for allow-share.
func (p *parser) boolean(key, text string) bool {
	b, err := strconv.ParseBool(text)
	if err != nil && text != "" {
		p.wrong(Problem{Key: key, Text: text, Wrong: "neither true nor false"})
	}
	return b
}

func oneOf[T any](p *parser, key, text string, meaning map[string]T) T {
	v, ok := meaning[text]
	if !ok {
		var known []string
		for text := range meaning {
			if text != "" {
				known = append(known, strconv.Quote(text))
			}
		}
		slices.Sort(known)
		p.wrong(Problem{Key: key, Text: text, Wrong: "not one of " + strings.Join(known, ", ")})
	}
	return v
}

func (p *parser) wrong(problem Problem) {
	p.problems = append(p.problems, problem)
	if !problem.Warning {
		p.config.broken[problem.Key] = true
	}
}
