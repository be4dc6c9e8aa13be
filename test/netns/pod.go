package netns

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// The node's end of a pod's cable has these addresses, the same on each: a pod's
// way out, as container network plugins do it.
var (
	podGateway  = netip.MustParseAddr("169.254.1.1")
	podGateway6 = netip.MustParseAddr("fe80::da:1")
)

// AddPod adds a host that is connected to node alone, by a routed cable: the node
// has a route to each of the pod's addresses, and the pod's default routes lead to
// the node. The node is made to Forward. Other hosts need routes of their own.
func (l *Lab) AddPod(node *Host, name string, addrs ...netip.Addr) (*Host, error) {
	pod, err := l.AddHost(name)
	if err != nil {
		return nil, err
	}
	if err := l.routeToPod(node, pod, addrs); err != nil {
		return nil, fmt.Errorf("connecting pod %s to %s: %w", name, node.name, err)
	}
	return pod, nil
}

func (l *Lab) routeToPod(node, pod *Host, addrs []netip.Addr) error {
	if err := node.Forward(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "pod" + pod.name
	if err := node.Sysctl("net.ipv6.conf.default.accept_dad=0"); err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(pod.ns[1].Fd())}
	if err := node.netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth: %w", err)
	}
	if err := pod.Sysctl("net.ipv6.conf.eth0.accept_dad=0"); err != nil {
		return err
	}
	for host, link := range map[*Host]string{node: attrs.Name, pod: "eth0"} {
		if err := host.up(link); err != nil {
			return err
		}
	}
	for _, gateway := range []netip.Addr{podGateway, podGateway6} {
		if err := node.AddAddr(netip.PrefixFrom(gateway, gateway.BitLen()), attrs.Name); err != nil {
			return err
		}
	}
	side, err := node.netlink.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	eth, err := pod.netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	own := make([]netip.Prefix, len(addrs))
	for i, addr := range addrs {
		own[i] = netip.PrefixFrom(addr, addr.BitLen())
		if err := pod.AddAddr(own[i], "eth0"); err != nil {
			return err
		}
		if err := node.netlink.RouteReplace(&netlink.Route{Dst: ipNet(own[i]), LinkIndex: side.Attrs().Index, Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("adding route to %s: %w", addr, err)
		}
		gateway, all := podGateway, net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
		if addr.Is6() {
			gateway, all = podGateway6, net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
		}
		out := &netlink.Route{Dst: &all, Gw: gateway.AsSlice(), LinkIndex: eth.Attrs().Index, Flags: int(netlink.FLAG_ONLINK)}
		if err := pod.netlink.RouteReplace(out); err != nil {
			return fmt.Errorf("adding default route of %s: %w", addr, err)
		}
	}
	pod.own = append(pod.own, own)
	return node.Sysctl("net.ipv6.conf.default.accept_dad=1")
}

// Here is the host of the bed's own namespaces, the ones that the caller runs in:
// loopback only, for programs that the caller talks to without Dial. A lab has one.
func (l *Lab) Here() (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.hostLocked(hereName); h != nil {
		return h, nil
	}
	h := &Host{name: hereName, lab: l, log: l.log.With("host", hereName)}
	handle, err := handleIn(namespaces{})
	if err != nil {
		return nil, err
	}
	h.netlink = handle
	l.hosts = append(l.hosts, h)
	return h, nil
}

const hereName = "here"

// Dir is a folder of the host's own, made on the first call. It goes with the lab's.
func (h *Host) Dir() (string, error) {
	dir := filepath.Join(h.lab.dir, "host-"+h.name, "files")
	return dir, mkdir(dir)
}
