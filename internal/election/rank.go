package election

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// hash returns the 64 bits that stand for a node or a claim in scores and in member records.
func hash(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:8])
}

// score is how well node suits claim: the live, eligible node with the highest holds it (rendezvous or highest random weight
// hashing, Thaler and Ravishankar 1998; weighted as by Schindelhauer and Schomaker 2005, so that shares are as the weights
// are). Only what a node held moves when it leaves, only to it when it joins, and only from or to it when its weight changes.
// It is part of the protocol between members: every version must give the same.
func score(node, claim uint64, weight uint32) float64 {
	const bits = 53 // of a float64
	u := (float64(mix(node, claim)>>(64-bits)) + 0.5) / (1 << bits)
	return float64(weight) / -math.Log(u)
}

// mix returns a number that node and claim decide on as if by chance.
func mix(node, claim uint64) uint64 {
	x := claim ^ (node*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15)
	// The finalizer of splitmix64: every bit of x changes every bit of the result with even chance.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
