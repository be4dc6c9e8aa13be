package vip_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daymark/internal/vip"
)

func addr(prefix, link string) vip.Address {
	return vip.Address{Prefix: netip.MustParsePrefix(prefix), Link: link}
}

func until(a vip.Address, t time.Time) vip.Address {
	a.Until = t
	return a
}

func TestUnionIsSortedAndWithoutDuplicates(t *testing.T) {
	got := vip.Union(
		[]vip.Address{addr("192.0.2.9/32", "eth1"), addr("192.0.2.10/32", "eth0")},
		[]vip.Address{addr("2001:db8::1/128", "eth0"), addr("192.0.2.10/32", "eth0"), addr("192.0.2.9/32", "eth0")},
	)
	want := []vip.Address{
		addr("192.0.2.9/32", "eth0"), addr("192.0.2.10/32", "eth0"), addr("2001:db8::1/128", "eth0"), addr("192.0.2.9/32", "eth1"),
	}
	if d := cmp.Diff(want, got, comparePrefixes); d != "" {
		t.Error(d)
	}
}

func TestIsSet(t *testing.T) {
	a, b := addr("192.0.2.9/32", "eth0"), addr("192.0.2.10/32", "eth0")
	for want, lists := range map[bool][][]vip.Address{
		true: {nil, {a}, {a, b}}, false: {{b, a}, {a, a}, {a, b, addr("192.0.2.10/24", "eth0")}},
	} {
		for _, list := range lists {
			if got := vip.IsSet(list); got != want {
				t.Errorf("%v: got %v", list, got)
			}
		}
	}
}

func TestUnionTakesTheStrongestRight(t *testing.T) {
	now := time.Now()
	a := addr("192.0.2.9/24", "eth0")
	for name, test := range map[string]struct{ a, b, want vip.Address }{
		"later":  {until(a, now), until(a, now.Add(1)), until(a, now.Add(1))},
		"no end": {until(a, now), a, a},
		"bits":   {a, addr("192.0.2.9/32", "eth0"), addr("192.0.2.9/32", "eth0")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, got := range [][]vip.Address{
				vip.Union([]vip.Address{test.a}, []vip.Address{test.b}),
				vip.Union([]vip.Address{test.b}, []vip.Address{test.a}),
			} {
				if len(got) != 1 || !got[0].Equal(test.want) {
					t.Errorf("got %v, want %v", got, test.want)
				}
			}
		})
	}
}

func TestDiff(t *testing.T) {
	now := time.Now()
	kept, gone, added := addr("192.0.2.1/32", "eth0"), addr("192.0.2.2/32", "eth0"), addr("192.0.2.3/32", "eth0")
	renewed := until(addr("192.0.2.4/32", "eth0"), now)
	c := vip.Diff(
		[]vip.Address{gone, kept, renewed},
		[]vip.Address{until(renewed, now.Add(time.Second)), added, kept},
	)
	want := vip.Change{
		Add:    []vip.Address{added},
		Update: []vip.Address{until(renewed, now.Add(time.Second))},
		Remove: []vip.Address{gone},
	}
	if d := cmp.Diff(want, c, comparePrefixes); d != "" {
		t.Error(d)
	}
	if !vip.Diff([]vip.Address{kept}, []vip.Address{kept}).Empty() {
		t.Error("equal sets differ")
	}
}

func TestLive(t *testing.T) {
	now := time.Now()
	a := addr("192.0.2.1/32", "eth0")
	if !a.Live(now) || !until(a, now.Add(1)).Live(now) || until(a, now).Live(now) {
		t.Error("a right lasts until, and not at, its end")
	}
}

var comparePrefixes = cmp.Comparer(func(a, b vip.Address) bool { return a.Equal(b) })
