package ipam

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Global is the name of the pool, and of the settings, of every namespace that has none of its own.
const Global = "global"

// Config is what the ConfigMap says, parsed. The zero Config has no pool. A Config is a value: nobody changes it once made.
type Config struct {
	// Pools are in the order of their names, each name once.
	Pools []Pool
	// Share says by namespace, or Global, whether Services whose (protocol, port) differ may share an address.
	Share map[string]bool
	// Interfaces names by namespace, or Global, the link that holds the addresses.
	Interfaces map[string]string
	// Quotas limits by namespace how many addresses it may hold.
	Quotas map[string]int
	// Exclude is never given to anyone.
	Exclude []Element
	// Order is the end of a pool from which addresses are given.
	Order Order
	// Precedence chooses between the pools that a namespace might use.
	Precedence Precedence
	// SkipEnds leaves out the first and the last address of each IPv4 CIDR that has more than two.
	SkipEnds bool
	// SpillToGlobal lets a namespace whose own pool is full use the global one.
	SpillToGlobal bool
	// AllowOutsidePools lets users request addresses that are in no pool of their namespace.
	AllowOutsidePools bool

	broken map[string]bool // keys with a wrong value; what of it is right is in the fields above
}

// Pool is the addresses that the keys cidr-NAME and range-NAME list. Either key may hold CIDRs and ranges; they are told apart only
// because of [Legacy] precedence. A nil list means that the key is absent.
type Pool struct {
	Name  string // a namespace, or Global
	CIDR  []Element
	Range []Element
}

// Order is the end of a pool from which addresses are given.
type Order int

// Ascending gives the lowest free address first, Descending the highest.
const (
	Ascending Order = iota
	Descending
)

// Precedence chooses between the pools that a namespace might use.
type Precedence int

const (
	// NamespaceFirst uses the namespace's pool, whichever key lists it, and otherwise the global one.
	NamespaceFirst Precedence = iota
	// Legacy uses only the first of cidr-NS, cidr-global, range-NS and range-global that there is.
	Legacy
)

// Interface returns the link that the addresses of namespace go to, or "" when none is configured.
func (c Config) Interface(namespace string) string {
	if link, ok := c.Interfaces[namespace]; ok {
		return link
	}
	return c.Interfaces[Global]
}

// Shares reports whether Services of namespace may share addresses.
func (c Config) Shares(namespace string) bool {
	if share, ok := c.Share[namespace]; ok {
		return share
	}
	return c.Share[Global]
}

// Quota returns how many addresses namespace may hold, and whether there is a limit.
func (c Config) Quota(namespace string) (int, bool) {
	n, ok := c.Quotas[namespace]
	return n, ok
}

// Pool returns the pool of that name.
func (c Config) Pool(name string) (Pool, bool) {
	i, ok := slices.BinarySearchFunc(c.Pools, name, func(p Pool, name string) int { return strings.Compare(p.Name, name) })
	if !ok {
		return Pool{}, false
	}
	return c.Pools[i], true
}

// PoolsOf returns the names of the pools that namespace may use, the first to be used first.
func (c Config) PoolsOf(namespace string) []string {
	own, isOwn := c.Pool(namespace)
	global, isGlobal := c.Pool(Global)
	first := isOwn
	if c.Precedence == Legacy && isOwn && isGlobal && own.CIDR == nil && global.CIDR != nil {
		first = false
	}
	switch {
	case namespace == Global || !first && isGlobal:
		if isGlobal {
			return []string{Global}
		}
		return nil
	case first && isGlobal && c.SpillToGlobal:
		return []string{namespace, Global}
	case first:
		return []string{namespace}
	}
	return nil
}

// Elements returns what p offers under precedence.
func (p Pool) Elements(precedence Precedence) []Element {
	if precedence == Legacy && p.CIDR != nil {
		return p.CIDR
	}
	return slices.Concat(p.CIDR, p.Range)
}

// KeepGood returns c in which every key with a wrong value says what it said in previous; of a pool, both keys do. Where previous had no
// such key, or pool, what is right of the value stays in force. Of the exclusions, those of both stay.
func (c Config) KeepGood(previous Config) Config {
	if len(c.broken) == 0 {
		return c
	}
	old := previous.Data()
	data := c.Data()
	for key := range c.broken {
		if prefix, name := split(key); prefix == prefixCIDR || prefix == prefixRange {
			if _, had := previous.Pool(name); had {
				restore(data, old, prefixCIDR+name)
				restore(data, old, prefixRange+name)
			}
			continue
		}
		switch value, ok := old[key]; {
		case !ok:
		case key == keyExclude && data[key] != "":
			data[key] += "," + value
		default:
			data[key] = value
		}
	}
	kept, _ := Parse(data)
	kept.broken = c.broken
	return kept
}

// restore makes key in data what it is in old, or not there.
func restore(data, old map[string]string, key string) {
	delete(data, key)
	if value, ok := old[key]; ok {
		data[key] = value
	}
}

// Broken returns the keys that had a wrong value, sorted.
func (c Config) Broken() []string { return slices.Sorted(maps.Keys(c.broken)) }

// Data returns the ConfigMap's data that [Parse] reads as c.
func (c Config) Data() map[string]string {
	data := map[string]string{}
	for _, p := range c.Pools {
		if p.CIDR != nil {
			data[prefixCIDR+p.Name] = formatElements(p.CIDR)
		}
		if p.Range != nil {
			data[prefixRange+p.Name] = formatElements(p.Range)
		}
	}
	for name, share := range c.Share {
		data[prefixShare+name] = strconv.FormatBool(share)
	}
	for name, link := range c.Interfaces {
		data[prefixInterface+name] = link
	}
	for name, n := range c.Quotas {
		data[prefixQuota+name] = strconv.Itoa(n)
	}
	if len(c.Exclude) > 0 {
		data[keyExclude] = formatElements(c.Exclude)
	}
	for key, set := range map[string]bool{
		keySkipEnds: c.SkipEnds, keySpill: c.SpillToGlobal, keyOutside: c.AllowOutsidePools,
	} {
		if set {
			data[key] = "true"
		}
	}
	if c.Order == Descending {
		data[keyOrder] = "desc"
	}
	if c.Precedence == Legacy {
		data[keyPrecedence] = "legacy"
	}
	return data
}

func formatElements(elements []Element) string {
	texts := make([]string, len(elements))
	for i, e := range elements {
		texts[i] = e.String()
	}
	return strings.Join(texts, ",")
}
