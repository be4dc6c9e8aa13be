package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// listed is an element of a pool and where it stands.
type listed struct {
	Element
	pool string
	at   Problem // without what is wrong
}

// warnOverlaps names each element that has addresses of another pool's. No address is given twice for that, but whoever comes first gets
// it, and that is hardly meant. Of two elements that overlap the one that begins higher is named.
func (p *parser) warnOverlaps() {
	list := slices.DeleteFunc(p.listed, func(l listed) bool { return l.DHCP() })
	slices.SortFunc(list, func(a, b listed) int {
		return cmp.Or(a.First.Compare(b.First), strings.Compare(a.pool, b.pool), strings.Compare(a.at.Key, b.at.Key), cmp.Compare(a.at.Element, b.at.Element))
	})
	var furthest, other listed // the elements so far that reach furthest, of two pools
	for _, l := range list {
		rival := furthest
		if furthest.pool == l.pool {
			rival = other
		}
		if reaches(rival, l.First) {
			at := l.at
			at.Warning, at.Wrong = true, fmt.Sprintf("overlaps %s of %s; each address goes to whoever asks first", rival.Element, rival.at.Key)
			p.wrong(at)
		}
		switch {
		case l.pool == furthest.pool:
			if !reaches(furthest, l.Last) {
				furthest = l
			}
		case !reaches(furthest, l.Last):
			furthest, other = l, furthest
		case !reaches(other, l.Last):
			other = l
		}
	}
}

// reaches reports whether l, which begins at addr or below, goes on to addr.
func reaches(l listed, addr netip.Addr) bool {
	return l.Last.BitLen() == addr.BitLen() && addr.Compare(l.Last) <= 0
}
