package agent

import "slices"

// Surroundings is what this node's kernel tells of its place in the network.
type Surroundings struct {
	// Reserved are addresses that are somebody's there: gateways, the node's own.
	Reserved []Reserved
	// Subnets are the networks that the node's links are in, in an order that stays the same.
	Subnets []Subnet
}

// SetSurroundings replaces what is known of this node's surroundings. Services are judged anew where that says anything else; it
// returns at once. It is to be called before Run, too.
func (s *Services) SetSurroundings(now Surroundings) {
	s.mu.Lock()
	same := slices.Equal(s.surroundings.Reserved, now.Reserved) && slices.Equal(s.surroundings.Subnets, now.Subnets)
	s.surroundings = now
	s.mu.Unlock()
	if !same {
		s.inbox.facts()
	}
}
