package datapath_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"daymark/internal/datapath"
	"daymark/internal/vip"
)

func link(t *testing.T, name string) {
	t.Helper()
	ip(t, "link add "+name+" type veth peer name p"+name)
	t.Cleanup(func() { ip(t, "link del "+name) })
	ip(t, "link set "+name+" up")
	ip(t, "link set p"+name+" up")
}

func addr(prefix, link string, left time.Duration) vip.Address {
	a := vip.Address{Prefix: netip.MustParsePrefix(prefix), Link: link}
	if left != 0 {
		a.Until = time.Now().Add(left)
	}
	return a
}

func open(t *testing.T, cfg datapath.Config) *datapath.Kernel {
	t.Helper()
	k, err := datapath.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestFirst(t *testing.T) {
	link(t, "a0")
	k := open(t, datapath.Config{})
	err := k.Set(t.Context(), []vip.Address{addr("198.18.0.1/32", "a0", 0), addr("fd00::1/128", "a0", 5*time.Second), addr("198.18.0.2/32", "nix", 0)})
	t.Log(err)
	if !errors.Is(err, datapath.ErrNoLink) {
		t.Error(err)
	}
	t.Log(ip(t, "-d addr show a0"))
	t.Log(k.Held())
	if err := k.Set(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if out := ip(t, "addr show a0"); strings.Contains(out, "198.18") || strings.Contains(out, "fd00") {
		t.Error(out)
	}
}
