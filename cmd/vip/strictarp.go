package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"daymark/internal/agent"
	"daymark/internal/datapath"
)

// proxyLink is where kube-proxy in IPVS mode puts the addresses of all Services, on every node.
const proxyLink = "kube-ipvs0"

// strictARP tells, once, that this node's kernel answers ARP for addresses of Services that other nodes hold. It belongs to one goroutine.
type strictARP struct {
	link   string // of Services
	sysctl func(path string) (string, error)
	tell   func(agent.Event)
	told   bool
}

func (s *strictARP) set(links []datapath.Link) {
	proxied := slices.ContainsFunc(links, func(l datapath.Link) bool { return l.Name == proxyLink })
	if s.told || !proxied || s.strict() {
		return
	}
	s.told = true
	s.tell(agent.Event{Type: corev1.EventTypeWarning, Reason: "ARPNotStrict", Text: fmt.Sprintf(
		"kube-proxy has the addresses of all Services on %s, and the kernel answers ARP for them on %s, also while another node holds them: "+
			"set ipvs.strictARP in kube-proxy's configuration (arp_ignore is 0)", proxyLink, s.link)})
}

// strict reports whether the kernel answers on a link for nothing but what is on it: the greater of two arp_ignore counts (ip-sysctl in the
// kernel's documentation). Where neither can be read nothing is known, and nothing told.
func (s *strictARP) strict() bool {
	known := false
	for _, link := range []string{"all", s.link} {
		text, err := s.sysctl("/proc/sys/net/ipv4/conf/" + link + "/arp_ignore")
		value, bad := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || bad != nil {
			continue
		}
		if known = true; value > 0 {
			return true
		}
	}
	return !known
}

// newStrictARP is for a node that announces the addresses of Services by ARP.
func (n *node) newStrictARP(tell func(agent.Event)) *strictARP {
	link := n.cfg.Links.Services
	if link == AutoLink {
		link = cmp.Or(n.cfg.Links.ControlPlane, link)
	}
	return &strictARP{link: link, sysctl: readSysctl, tell: func(e agent.Event) {
		n.log.Warn("answering ARP for other nodes' addresses", "link", link, "hint", e.Text)
		tell(e)
	}}
}

func readSysctl(path string) (string, error) {
	text, err := os.ReadFile(path)
	return string(text), err
}
