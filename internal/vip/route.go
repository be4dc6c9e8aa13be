package vip

import "slices"

// Route is what a routing protocol says of an address beside the address itself. The zero Route adds nothing.
type Route struct {
	// Communities are BGP communities (RFC 1997), ASN in the high 16 bits; sorted.
	Communities []uint32
	// LargeCommunities are BGP large communities (RFC 8092); sorted.
	LargeCommunities [][3]uint32
	// LocalPref is LOCAL_PREF (RFC 4271, 5.1.5) for internal peers; nil means the speaker's default.
	LocalPref *uint32
	// MED is MULTI_EXIT_DISC (RFC 4271, 5.1.4); nil means none.
	MED *uint32
	// Leaving means that the address is about to be withdrawn, so that routers should use others first (GRACEFUL_SHUTDOWN, RFC 8326).
	Leaving bool
}

// Equal reports whether r and s say the same.
func (r Route) Equal(s Route) bool {
	return slices.Equal(r.Communities, s.Communities) && slices.Equal(r.LargeCommunities, s.LargeCommunities) &&
		equal(r.LocalPref, s.LocalPref) && equal(r.MED, s.MED) && r.Leaving == s.Leaving
}

func equal(a, b *uint32) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
