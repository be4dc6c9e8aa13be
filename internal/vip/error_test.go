package vip_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"daymark/internal/vip"
)

func TestErrorFor(t *testing.T) {
	key := func(addr, link string) vip.Key { return vip.Key{Addr: netip.MustParseAddr(addr), Link: link} }
	one := &vip.AddressError{Key: key("192.0.2.1", "eth0"), Err: errors.New("192.0.2.1: refused")}
	ten := &vip.AddressError{Key: key("192.0.2.10", "eth0"), Err: errors.New("192.0.2.10: refused")}
	all := fmt.Errorf("setting: %w", errors.Join(errors.New("socket"), errors.Join(ten, one)))
	for _, test := range []struct {
		err  error
		key  vip.Key
		want error
	}{
		{all, one.Key, one},
		{all, ten.Key, ten},
		{all, key("192.0.2.1", "eth1"), all},
		{one, one.Key, one},
		{nil, one.Key, nil},
	} {
		if got := vip.ErrorFor(test.err, test.key); got != test.want {
			t.Errorf("of %v for %v: got %v", test.err, test.key, got)
		}
	}
}
