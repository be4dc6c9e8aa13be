package agent

import (
	"slices"
	"time"
)

// Surroundings is what this node's kernel tells of its place in the network.
type Surroundings struct {
	// Reserved are addresses that are somebody's there: gateways, the node's own.
	Reserved []Reserved
	// Subnets are the networks that the node's links are in, in an order that stays the same.
	Subnets []Subnet
	// Links are all links by name, with the reason why one can't carry traffic, such as "has no carrier", or "". nil means that nothing
	// is known of them, and then all can.
	Links map[string]string
}

// SetSurroundings replaces what is known of this node's surroundings. Services are judged anew where that says anything else, and
// what goes to a link is where that is another; it returns at once. It is to be called before Run, too.
func (s *Services) SetSurroundings(now Surroundings) {
	s.mu.Lock()
	same := slices.Equal(s.surroundings.Reserved, now.Reserved) && slices.Equal(s.surroundings.Subnets, now.Subnets)
	s.surroundings = now
	var changed []string
	if now.Links != nil {
		changed = s.links.set(now.Links, time.Now())
	}
	s.mu.Unlock()
	if !same {
		s.inbox.facts()
	}
	if len(changed) > 0 {
		s.inbox.links(changed)
	}
}
