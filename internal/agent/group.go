package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"daymark/internal/election"
	"daymark/internal/vip"
)

// Name is the namespace and name of a Service.
type Name struct{ Namespace, Name string }

// String returns "namespace/name".
func (n Name) String() string { return n.Namespace + "/" + n.Name }

func compareNames(a, b Name) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Group is the Services that must be held together, because they share an address, a Service of them has two, or the user
// said so. It is one claim.
type Group struct {
	Claim     election.Claim
	Services  []Name        // sorted
	Addresses []vip.Address // of those Services that are active
	links     verdict       // on the links that they go to
}

// tie is what binds Services together: an address or the name of a group.
type tie struct {
	addr  netip.Addr
	group string
}

// groups keeps the wishes of all Services in groups: connected components over their ties. A change costs no more than the
// groups that it touches. It has no lock.
type groups struct {
	wishes map[Name]Wish
	tied   map[tie]map[Name]struct{}
	of     map[Name]*Group
	claims map[string]*Group            // the groups that are claims, by name
	on     map[string]map[string]*Group // the same, by each link that they go to
	judge  func(*Group) bool            // called with each that is new
}

func newGroups(judge func(*Group) bool) *groups {
	return &groups{
		wishes: make(map[Name]Wish), tied: make(map[tie]map[Name]struct{}), of: make(map[Name]*Group), claims: make(map[string]*Group),
		on: make(map[string]map[string]*Group), judge: judge,
	}
}

// having returns the group of the Services that ask for addr, nil if none does.
func (g *groups) having(addr netip.Addr) *Group {
	for name := range g.tied[tie{addr: addr}] {
		return g.of[name]
	}
	return nil
}

func ties(w Wish) []tie {
	var out []tie
	for _, a := range w.Addresses {
		out = append(out, tie{addr: a.Prefix.Addr()})
	}
	if w.Group != "" {
		out = append(out, tie{group: w.Group})
	}
	return out
}

// set replaces the wish of a Service, a zero Wish meaning that it has none, and reports whether anything changed.
func (g *groups) set(name Name, w Wish) bool {
	old, known := g.wishes[name]
	if known && old.Equal(w) || !known && len(w.Addresses) == 0 {
		return false
	}
	touched := map[Name]struct{}{}
	if before := g.of[name]; before != nil {
		for _, other := range before.Services {
			touched[other] = struct{}{}
		}
	}
	for _, t := range ties(old) {
		delete(g.tied[t], name)
		if len(g.tied[t]) == 0 {
			delete(g.tied, t)
		}
	}
	if len(w.Addresses) == 0 {
		delete(g.wishes, name)
		delete(touched, name)
		g.forget(name)
	} else {
		g.wishes[name] = w
		touched[name] = struct{}{}
		for _, t := range ties(w) {
			if g.tied[t] == nil {
				g.tied[t] = make(map[Name]struct{})
			}
			g.tied[t][name] = struct{}{}
		}
	}
	g.regroup(touched)
	return true
}

func (g *groups) forget(name Name) {
	if before := g.of[name]; before != nil && g.claims[before.Claim.Name] == before {
		delete(g.claims, before.Claim.Name)
		for _, a := range before.Addresses {
			if delete(g.on[a.Link], before.Claim.Name); len(g.on[a.Link]) == 0 {
				delete(g.on, a.Link)
			}
		}
	}
	delete(g.of, name)
}

// regroup finds the components of the Services in touched anew.
func (g *groups) regroup(touched map[Name]struct{}) {
	for len(touched) > 0 {
		var members []Name
		for start := range touched {
			members = g.component(start)
			break
		}
		for _, m := range members {
			g.forget(m)
		}
		group := g.build(members)
		for _, m := range members {
			delete(touched, m)
			g.of[m] = group
		}
		if len(group.Addresses) > 0 {
			g.enter(group)
		}
	}
}

// enter makes a group a claim.
func (g *groups) enter(group *Group) {
	g.claims[group.Claim.Name] = group
	for _, a := range group.Addresses {
		if g.on[a.Link] == nil {
			g.on[a.Link] = make(map[string]*Group)
		}
		g.on[a.Link][group.Claim.Name] = group
	}
	g.judge(group)
}

func (g *groups) component(start Name) []Name {
	seen := map[Name]struct{}{start: {}}
	for queue := []Name{start}; len(queue) > 0; queue = queue[1:] {
		for _, t := range ties(g.wishes[queue[0]]) {
			for other := range g.tied[t] {
				if _, ok := seen[other]; !ok {
					seen[other] = struct{}{}
					queue = append(queue, other)
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), compareNames)
}

// build makes the group of members, which are sorted.
func (g *groups) build(members []Name) *Group {
	group := &Group{Services: members}
	var name string
	var lowest netip.Addr
	var nodes [][]string
	leased := true
	for _, m := range members {
		w := g.wishes[m]
		if w.Group != "" && (name == "" || w.Group < name) {
			name = w.Group
		}
		for _, a := range w.Addresses {
			if !lowest.IsValid() || a.Prefix.Addr().Less(lowest) {
				lowest = a.Prefix.Addr()
			}
		}
		if !w.Active {
			continue
		}
		leased = leased && !w.Spread
		group.Addresses = append(group.Addresses, w.Addresses...)
		if w.Nodes != nil {
			nodes = append(nodes, w.Nodes)
		}
	}
	group.Addresses = oneLink(group.Addresses)
	group.Claim = claimOf(cmp.Or(name, lowest.String()), g.addressesOf(members))
	group.Claim.Nodes = common(nodes)
	group.Claim.Leased = leased
	return group
}

// addressesOf returns the addresses that members ask for, also those that lead nowhere now, sorted.
func (g *groups) addressesOf(members []Name) []netip.Addr {
	var out []netip.Addr
	for _, m := range members {
		for _, a := range g.wishes[m].Addresses {
			out = append(out, a.Prefix.Addr())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// claimOf returns the claim of addrs, whose place is that of place: with other addresses it is another claim.
func claimOf(place string, addrs []netip.Addr) election.Claim {
	c := election.Claim{Name: place, Place: place}
	for _, a := range addrs {
		c.Parts = append(c.Parts, a.String())
	}
	if len(c.Parts) != 1 || c.Parts[0] != place {
		c.Name = strings.Join(slices.Compact(append([]string{place}, c.Parts...)), ",")
	}
	return c
}

// common returns the nodes that are in every list, or, where there is none, those in any; nil for no list.
func common(lists [][]string) []string {
	if len(lists) == 0 {
		return nil
	}
	count := map[string]int{}
	for _, list := range lists {
		for _, node := range list {
			count[node]++
		}
	}
	all := slices.Sorted(maps.Keys(count))
	both := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return count[n] < len(lists) })
	if len(both) > 0 {
		return both
	}
	return all
}

// oneLink returns the union of addrs with each address on one link only, the first by name: an address is never on two links.
func oneLink(addrs []vip.Address) []vip.Address {
	union := vip.Union(addrs)
	seen := make(map[netip.Addr]struct{}, len(union))
	return slices.DeleteFunc(union, func(a vip.Address) bool {
		_, again := seen[a.Prefix.Addr()]
		seen[a.Prefix.Addr()] = struct{}{}
		return again
	})
}
