package netns

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lab is a set of LANs and hosts. It belongs to one goroutine while it is built;
// the hosts and LANs may then be used concurrently.
type Lab struct {
	dir   string
	log   *slog.Logger
	mu    sync.Mutex // guards what follows
	lans  []*LAN
	hosts []*Host
}

// New returns an empty laboratory that keeps its files below dir: a folder of
// logs and one for each host's own /etc. The caller must be Inside and Close it.
func New(dir string, log *slog.Logger) (*Lab, error) {
	if !Inside() {
		return nil, errors.New("a lab needs namespaces of its own: call netns.Run first")
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		return nil, err
	}
	return &Lab{dir: dir, log: log}, nil
}

// Close kills what still runs on the hosts and frees every namespace.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.close())
	}
	for _, lan := range l.lans {
		errs = append(errs, lan.close())
	}
	l.hosts, l.lans = nil, nil
	return errors.Join(errs...)
}

// Logs is the folder with a file for each command that was started.
func (l *Lab) Logs() string { return filepath.Join(l.dir, "logs") }

// LAN is a switch: a bridge in a namespace of its own, which has no addresses and
// says nothing by itself. Host n (from 0) gets the address 10+n of each prefix.
type LAN struct {
	name     string
	number   int
	prefixes []netip.Prefix
	ns       namespaces
	netlink  *netlink.Handle
	bridge   *netlink.Bridge
	observer *Observer

	mu    sync.Mutex // guards ports
	ports []*port
}

// port is one end of a cable: the bridge's side of a veth pair.
type port struct {
	host  *Host
	index int // of the link in the LAN's namespace
	mac   net.HardwareAddr
	addrs []netip.Prefix
	link  string // its name on the host
}

// firstHost is the number of the first host's address in a prefix: lower ones are
// free for VIPs and gateways, and for the Observer, which asks as number 2.
const (
	firstHost    = 10
	observerHost = 2
)

// AddLAN adds a switch. Without prefixes the n-th LAN (from 0) has
// 198.18.n.0/24 and fd00:18:n::/64. Its Observer records from now on.
func (l *Lab) AddLAN(name string, prefixes ...netip.Prefix) (*LAN, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := len(l.lans)
	if len(prefixes) == 0 {
		prefixes = []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(number), 0}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x18, 0, byte(number)}), 64),
		}
	}
	lan := &LAN{name: name, number: number, prefixes: prefixes}
	l.lans = append(l.lans, lan) // before it can fail, so that Close frees what there is
	var err error
	if lan.ns, err = newNamespaces(name, filepath.Join(l.dir, "lan-"+name)); err != nil {
		return nil, err
	}
	if lan.netlink, err = handleIn(lan.ns); err != nil {
		return nil, err
	}
	if err := lan.raiseBridge(); err != nil {
		return nil, fmt.Errorf("building LAN %s: %w", name, err)
	}
	lan.observer, err = newObserver(lan)
	return lan, err
}

func (lan *LAN) raiseBridge() error {
	err := lan.ns.do(func() error { // a switch has no addresses of its own, not even link-local ones
		return errors.Join(writeSysctl("net.ipv6.conf.all.disable_ipv6", "1"), writeSysctl("net.ipv6.conf.default.disable_ipv6", "1"))
	})
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "switch"
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0xda, 0, byte(lan.number), 0, 1}
	snooping := false // ND must reach everybody: there is no querier
	lan.bridge = &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := lan.netlink.LinkAdd(lan.bridge); err != nil {
		return fmt.Errorf("adding bridge: %w", err)
	}
	return lan.netlink.LinkSetUp(lan.bridge)
}

// Name is the LAN's name.
func (lan *LAN) Name() string { return lan.name }

// Prefixes are the LAN's subnets, in the order they were given.
func (lan *LAN) Prefixes() []netip.Prefix { return lan.prefixes }

// Observer records who answers for which address on this LAN.
func (lan *LAN) Observer() *Observer { return lan.observer }

// Addr is address number n of the LAN's first IPv4 prefix: 1 to 9 and 100 up are
// never a host's as long as there are fewer than 90.
func (lan *LAN) Addr(n int) netip.Addr { return lan.addr(n, netip.Addr.Is4) }

// Addr6 is address number n of the LAN's first IPv6 prefix.
func (lan *LAN) Addr6(n int) netip.Addr { return lan.addr(n, netip.Addr.Is6) }

func (lan *LAN) addr(n int, family func(netip.Addr) bool) netip.Addr {
	for _, p := range lan.prefixes {
		if family(p.Addr()) {
			return nth(p, n).Addr()
		}
	}
	return netip.Addr{}
}

func (lan *LAN) portOf(h *Host) *port {
	lan.mu.Lock()
	defer lan.mu.Unlock()
	for _, p := range lan.ports {
		if p.host == h {
			return p
		}
	}
	return nil
}

// portAt finds the port by its link's index, or nil.
func (lan *LAN) portAt(index int) *port {
	lan.mu.Lock()
	defer lan.mu.Unlock()
	for _, p := range lan.ports {
		if p.index == index {
			return p
		}
	}
	return nil
}

func (lan *LAN) close() error {
	var errs []error
	if lan.observer != nil {
		errs = append(errs, lan.observer.close())
	}
	if lan.netlink != nil {
		lan.netlink.Close()
	}
	return errors.Join(append(errs, lan.ns.close())...)
}

// nth is address number n of a prefix, with the prefix's length.
func nth(p netip.Prefix, n int) netip.Prefix {
	raw := p.Masked().Addr().AsSlice()
	for i, carry := len(raw)-1, n; carry > 0 && i >= 0; i-- {
		carry += int(raw[i])
		raw[i], carry = byte(carry), carry>>8
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(addr, p.Bits())
}

// handleIn opens a routing-netlink socket in the namespaces.
func handleIn(ns namespaces) (h *netlink.Handle, err error) {
	err = ns.do(func() error {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return h, err
}
