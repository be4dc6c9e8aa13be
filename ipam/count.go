package ipam

import (
	"math"
	"math/big"
	"math/bits"
)

// Count is a number of addresses, up to 2^128-1; larger ones stay at that.
type Count struct{ hi, lo uint64 }

// CountOf returns n as a Count.
func CountOf(n uint64) Count { return Count{lo: n} }

// String returns the number in decimal.
func (c Count) String() string {
	n := new(big.Int).Lsh(new(big.Int).SetUint64(c.hi), 64)
	return n.Or(n, new(big.Int).SetUint64(c.lo)).String()
}

// MarshalJSON returns the number as a JSON number of any length.
func (c Count) MarshalJSON() ([]byte, error) { return []byte(c.String()), nil }

// Float64 returns the nearest float64, for metrics.
func (c Count) Float64() float64 { return math.Ldexp(float64(c.hi), 64) + float64(c.lo) }

// Compare returns -1, 0 or 1 as c is less than, equal to or greater than d.
func (c Count) Compare(d Count) int { return uint128(c).compare(uint128(d)) }

// Add returns c+d.
func (c Count) Add(d Count) Count {
	lo, carry := bits.Add64(c.lo, d.lo, 0)
	hi, over := bits.Add64(c.hi, d.hi, carry)
	if over != 0 {
		return Count{math.MaxUint64, math.MaxUint64}
	}
	return Count{hi, lo}
}

// Sub returns c-d, at least 0.
func (c Count) Sub(d Count) Count {
	if c.Compare(d) <= 0 {
		return Count{}
	}
	lo, borrow := bits.Sub64(c.lo, d.lo, 0)
	hi, _ := bits.Sub64(c.hi, d.hi, borrow)
	return Count{hi, lo}
}

// IsZero reports whether c is 0.
func (c Count) IsZero() bool { return c == Count{} }
