package ipam

import (
	"math/bits"
	"slices"
)

// slots finds the slot of an address, by blocks of 256. It is smaller than a map of addresses, and neighbours lie together in memory.
type slots map[uint128]*slotBlock

// slotBlock has the slots of a block: those of used in their order while they are few, else one for each address, nil or not.
type slotBlock struct {
	used bits256
	list []*slot
}

const fewSlots = 32

// place returns where the slot of x is in the list, or belongs.
func (b *slotBlock) place(x uint128) int {
	if len(b.list) > fewSlots {
		return int(x.lo & 255)
	}
	return b.used.below(x)
}

// at returns the slot of x, or nil.
func (s slots) at(x uint128) *slot {
	b := s[x.block()]
	if b == nil || !b.used.has(x) {
		return nil
	}
	return b.list[b.place(x)]
}

// put adds a slot for x, which has none.
func (s slots) put(x uint128, at *slot) {
	b := s[x.block()]
	if b == nil {
		b = &slotBlock{}
		s[x.block()] = b
	}
	if len(b.list) == fewSlots {
		b.spread(x.block())
	}
	if len(b.list) > fewSlots {
		b.list[b.place(x)] = at
	} else {
		b.list = slices.Insert(b.list, b.place(x), at)
	}
	b.used.flip(x)
	at.block = b
}

// spread gives every address of the block a place in the list.
func (b *slotBlock) spread(number uint128) {
	all := make([]*slot, 256)
	for x := range b.used.each(number) {
		all[x.lo&255] = b.list[b.place(x)]
	}
	b.list = all
}

// delete removes at, the slot of x. It goes by the slot's own block: finding that in a map costs more than the rest, where there are many.
func (s slots) delete(x uint128, at *slot) {
	b := at.block
	b.used.flip(x)
	switch {
	case b.used == (bits256{}):
		delete(s, x.block())
	case len(b.list) > fewSlots:
		b.list[b.place(x)] = nil
	default:
		b.list = slices.Delete(b.list, b.place(x), b.place(x)+1)
	}
}

// below returns how many of the set are below x in its block.
func (s *bits256) below(x uint128) int {
	n, word := 0, int(x.lo>>6&3)
	for _, w := range s[:word] {
		n += bits.OnesCount64(w)
	}
	return n + bits.OnesCount64(s[word]&(1<<(x.lo&63)-1))
}
