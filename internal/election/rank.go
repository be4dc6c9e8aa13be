package election

import (
	"crypto/sha256"
	"encoding/binary"
)

// hash returns the 64 bits that stand for a node or a claim in scores and in member records.
func hash(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:8])
}

// score is how well node suits claim: the live, eligible node with the highest holds it (rendezvous or highest random weight
// hashing, Thaler and Ravishankar 1998). Only what a node held moves when it leaves, and only to it when it joins.
// It is part of the protocol between members: every version must give the same.
func score(node, claim uint64) uint64 {
	x := claim ^ (node*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15)
	// The finalizer of splitmix64: every bit of x changes every bit of the result with even chance.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
