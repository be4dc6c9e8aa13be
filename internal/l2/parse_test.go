package l2_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"daymark/internal/l2"
)

var (
	v4 = netip.MustParseAddr("198.18.0.10")
	v6 = netip.MustParseAddr("fd00::10")
)

// frames are some of each kind that we send, so that others can send them too.
func frames() [][]byte {
	var out [][]byte
	for _, a := range []netip.Addr{v4, v6} {
		out = append(out, l2.Announcements(a, stranger)...)
		out = append(out, l2.ProbeFrame(a, stranger))
	}
	return out
}

// FuzzParse gives anything to the parser; what it takes must make sense.
func FuzzParse(f *testing.F) {
	for _, frame := range frames() {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, ok := l2.Parse(frame)
		if ok && (!h.Addr.IsValid() || h.Addr.IsUnspecified() || h.Addr.IsMulticast() || h.Addr.Is4In6() && len(frame) < 60 || h.MAC[0]&1 != 0 || h.Kind == "") {
			t.Errorf("took %+v from % x", h, frame)
		}
	})
}

func TestParseReadsWhatWeSend(t *testing.T) {
	want := []l2.Kind{l2.Claim, l2.Claim, l2.Query, l2.Claim, l2.Query}
	for i, frame := range frames() {
		padded := append(slices.Clone(frame), make([]byte, 18)...) // Ethernet's least size is 60
		for _, b := range [][]byte{frame, padded} {
			h, ok := l2.Parse(b)
			if !ok || h.Kind != want[i] || h.MAC != stranger || h.Addr != v4 && h.Addr != v6 {
				t.Errorf("% x: %v %+v", b, ok, h)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	arp, na := l2.Announcements(v4, stranger)[0], l2.Announcements(v6, stranger)[0]
	change := func(frame []byte, at int, to ...byte) []byte {
		b := slices.Clone(frame)
		copy(b[at:], to)
		return b
	}
	// summed gives a changed neighbour message the checksum that it should have.
	summed := func(frame []byte) []byte {
		b := change(frame, 14+40+2, 0, 0)
		binary.BigEndian.PutUint16(b[14+40+2:], l2.Checksum(netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54])), b[54:]))
		return b
	}
	long := change(na, 14+4, 0xff, 0xff)
	ns := l2.ProbeFrame(v6, stranger)
	withOption := change(append(slices.Clone(ns), 1, 1, 2, 0, 0, 0, 0, 0xaa), 14+4, 0, 32)
	redirect := change(na, 14+40, 137)
	for name, frame := range map[string][]byte{
		"nothing":               nil,
		"another ethertype":     change(arp, 12, 8, 0),
		"ARP of another medium": change(arp, 14, 0, 6),
		"ARP cut short":         arp[:41],
		"ARP from a group":      change(arp, 14+8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"ARP from nobody":       change(arp, 14+8, 0, 0, 0, 0, 0, 0),
		"ARP for a group":       change(arp, 14+14, 224, 0, 0, 1),
		"RARP":                  change(arp, 14+6, 0, 3),
		"through a router":      change(na, 14+7, 254),
		"another code":          summed(change(na, 14+40+1, 1)),
		"wrong checksum":        change(na, 14+40+8, 0xfe),
		"longer than the frame": long,
		"NDP cut short":         na[:60],
		"IPv4 inside":           change(na, 14, 0x45),
		"TCP inside":            change(na, 14+6, 6),
		"endless option":        summed(change(na, 14+40+24+1, 0)),
		"option past the end":   summed(change(na, 14+40+24+1, 9)),
		"option cut short":      summed(change(append(slices.Clone(na), 2), 14+4, 0, 33)),
		// RFC 4861, 7.1: the kernel takes none of these either.
		"an answer to all":                  summed(change(na, 14+40+4, 0x60)),
		"a question to another group":       summed(change(ns, 14+24+15, 0x11)),
		"a question to one":                 summed(change(ns, 14+24, v6.AsSlice()...)),
		"a question of nobody with a MAC":   summed(withOption),
		"a question with an endless option": summed(change(withOption, 14+40+24+1, 0)),
		"a redirect":                        summed(redirect),
	} {
		if h, ok := l2.Parse(frame); ok {
			t.Errorf("%s: took %+v", name, h)
		}
	}
}

func TestAnnouncementsAreAsTheRFCsSay(t *testing.T) {
	arp := l2.Announcements(v4, stranger)
	if op := []uint16{binary.BigEndian.Uint16(arp[0][20:]), binary.BigEndian.Uint16(arp[1][20:])}; op[0] != 1 || op[1] != 2 {
		t.Errorf("operations %v, want a request and a reply", op)
	}
	for _, f := range arp {
		if !slices.Equal(f[28:32], f[38:42]) {
			t.Errorf("not gratuitous: % x", f)
		}
	}
	if target := arp[1][32:38]; !slices.Equal(target, stranger[:]) {
		t.Errorf("the reply's target is % x, want its own", target)
	}
	na := l2.Announcements(v6, stranger)[0]
	want := "33330000000102000000" + "00aa86dd" + "60000000" + "0020" + "3aff" +
		"fd000000000000000000000000000010" + "ff020000000000000000000000000001"
	if got := hex(na[:54]); got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	if got := hex(na[58:]); got != "20000000"+"fd000000000000000000000000000010"+"0201"+"0200000000aa" {
		t.Errorf("advertisement %s: want override, the target, and its MAC", got)
	}
	if got := hex(l2.ProbeFrame(v6, stranger)[:6]); got != "3333ff000010" {
		t.Errorf("probe goes to %s, want the solicited-node group", got)
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, x := range b {
		out = append(out, digits[x>>4], digits[x&15])
	}
	return string(out)
}
