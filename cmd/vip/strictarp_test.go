package main_test

import (
	"errors"
	"strings"
	"testing"

	vip "daymark/cmd/vip"
	"daymark/internal/agent"
	"daymark/internal/datapath"
)

// kube-proxy in IPVS mode has every node answer ARP for every Service unless strictARP is set: that is told, once.
func TestStrictARP(t *testing.T) {
	plain, proxied := []datapath.Link{{Name: "eth0"}}, []datapath.Link{{Name: "eth0"}, {Name: "kube-ipvs0", NoARP: true}}
	for name, test := range map[string]struct {
		links     []datapath.Link
		all, eth0 string // arp_ignore; "" can't be read
		told      int
	}{
		"answers for all":        {proxied, "0\n", "0\n", 1},
		"strict":                 {proxied, "1\n", "0\n", 0},
		"strict on the link":     {proxied, "0\n", "2\n", 0},
		"without IPVS":           {plain, "0\n", "0\n", 0},
		"the link can't be read": {proxied, "0\n", "", 1},
		"nothing can be read":    {proxied, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			set := vip.NewStrictARP("eth0", func(path string) (string, error) {
				text := map[string]string{"/proc/sys/net/ipv4/conf/all/arp_ignore": test.all, "/proc/sys/net/ipv4/conf/eth0/arp_ignore": test.eth0}[path]
				if text == "" {
					return "", errors.New("not there")
				}
				return text, nil
			}, func(e agent.Event) { told = append(told, e.Type+" "+e.Reason+" "+e.Text) })
			set(plain)
			set(test.links)
			set(test.links)
			if len(told) != test.told {
				t.Errorf("told %q, want %d Events", told, test.told)
			}
			if len(told) > 0 && !(strings.HasPrefix(told[0], "Warning ARPNotStrict ") && strings.Contains(told[0], "strictARP")) {
				t.Errorf("told %q", told[0])
			}
		})
	}
}
