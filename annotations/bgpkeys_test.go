package annotations_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"daymark/annotations"
)

func TestBothGenerationsReadBack(t *testing.T) {
	peer := func(addr string) annotations.NodePeer {
		return annotations.NodePeer{
			LocalASN: 65000, Source: netip.MustParseAddr("10.64.1.3"), PeerASN: 65530, Peer: netip.MustParseAddr(addr), Password: "Secret0000", Multihop: true,
		}
	}
	want := annotations.NodeBGP{Peers: []annotations.NodePeer{peer("169.254.255.1"), peer("169.254.255.2")}}
	for name, generation := range map[string]annotations.Generation{"indexed": annotations.Indexed, "plain": annotations.Plain} {
		keys := generation.Keys("metal.equinix.com")
		text, err := want.FormatKeys(keys)
		if err != nil {
			t.Fatal(name, err)
		}
		for key := range text {
			if !keys.Has(key) || keys.Has(key+"x") || !annotations.IsNodeBGPKey("metal.equinix.com", key) {
				t.Errorf("%s: key %s", name, key)
			}
		}
		got, err := annotations.ParseNodeBGP("metal.equinix.com", text)
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" || err != nil {
			t.Error(name, err, d)
		}
	}
	if text, _ := want.FormatKeys(annotations.Indexed.Keys("metal.equinix.com")); text["metal.equinix.com/bgp-peers-1-peer-ip"] != "169.254.255.2" {
		t.Error(text)
	}
	if text, _ := want.FormatKeys(annotations.Plain.Keys("metal.equinix.com")); text["metal.equinix.com/peer-ip"] != "169.254.255.1,169.254.255.2" {
		t.Error(text)
	}
}

func TestPlainKeysSayWhatTheyCannot(t *testing.T) {
	a := annotations.NodePeer{LocalASN: 65000, Source: netip.MustParseAddr("10.0.0.1"), PeerASN: 65001, Peer: netip.MustParseAddr("10.0.0.2"), Password: "hidden"}
	b := a
	b.Peer, b.PeerASN = netip.MustParseAddr("10.0.0.3"), 65002
	text, err := annotations.NodeBGP{Peers: []annotations.NodePeer{a, b}}.FormatKeys(annotations.Plain.Keys("x.example"))
	if err == nil || !strings.Contains(err.Error(), "10.0.0.3") || strings.Contains(err.Error(), "hidden") || text["x.example/peer-ip"] != "10.0.0.2" {
		t.Error(text, err)
	}
}

func TestKeysThatDontGoTogether(t *testing.T) {
	good := annotations.Indexed.Keys("x.example")
	for name, change := range map[string]func(*annotations.NodeKeys){
		"mixed": func(k *annotations.NodeKeys) { k.PeerIP = "x.example/peer-ip" },
		"empty": func(k *annotations.NodeKeys) { k.Password = "" },
		"twice": func(k *annotations.NodeKeys) { k.PeerASN = k.NodeASN },
	} {
		keys := good
		change(&keys)
		if _, err := keys.Indexed(); err == nil {
			t.Error(name, "is accepted")
		}
		if text, err := (annotations.NodeBGP{}).FormatKeys(keys); err == nil || text != nil {
			t.Error(name, text, err)
		}
	}
	good.Multihop = ""
	if indexed, err := good.Indexed(); !indexed || err != nil {
		t.Error("without multihop:", indexed, err)
	}
}

func TestCheckIsAsStrictAsParsing(t *testing.T) {
	good := annotations.NodePeer{LocalASN: 65000, Source: netip.MustParseAddr("10.0.0.1"), PeerASN: 65001, Peer: netip.MustParseAddr("10.0.0.2")}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	bad := annotations.NodePeer{PeerASN: 23456, Source: netip.MustParseAddr("0.0.0.0"), Password: annotations.Password(strings.Repeat("s3cret", 20))}
	err := bad.Check()
	if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("%v", err)
	}
}
