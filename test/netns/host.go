package netns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is a machine of the lab: namespaces for network, mounts and host name. Its
// links are lo and eth0, eth1 and so on, one for each LAN in the order given. It
// has an /etc of its own. It is safe for concurrent use.
type Host struct {
	name    string
	lab     *Lab
	log     *slog.Logger
	ns      namespaces
	netlink *netlink.Handle
	lans    []*LAN
	own     [][]netip.Prefix // addresses it was given, one list for each link

	mu       sync.Mutex // guards what follows
	commands []*Command
	blocks   int
}

// AddHost adds a host with a cable to each of the LANs. Its name has 1 to 12
// lower-case letters, digits and dashes.
func (l *Lab) AddHost(name string, lans ...*LAN) (*Host, error) {
	if len(name) == 0 || len(name) > 12 {
		return nil, fmt.Errorf("host name %q is not 1 to 12 characters long", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hostLocked(name) != nil {
		return nil, fmt.Errorf("there is already a host %q", name)
	}
	h := &Host{name: name, lab: l, lans: lans, log: l.log.With("host", name)}
	l.hosts = append(l.hosts, h)
	var err error
	if h.ns, err = newNamespaces(name, filepath.Join(l.dir, "host-"+name)); err != nil {
		return nil, err
	}
	if h.netlink, err = handleIn(h.ns); err != nil {
		return nil, err
	}
	// Addresses of the host itself are to be usable at once; what is added later
	// goes through duplicate address detection as it does everywhere.
	if err := h.Sysctl("net.ipv6.conf.default.accept_dad=0", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"); err != nil {
		return nil, err
	}
	if err := h.up("lo"); err != nil {
		return nil, err
	}
	for i, lan := range lans {
		if err := h.plug(lan, fmt.Sprintf("eth%d", i)); err != nil {
			return nil, fmt.Errorf("connecting %s to %s: %w", name, lan.name, err)
		}
	}
	return h, h.Sysctl("net.ipv6.conf.default.accept_dad=1")
}

// Host returns the host of that name, or nil.
func (l *Lab) Host(name string) *Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hostLocked(name)
}

func (l *Lab) hostLocked(name string) *Host {
	i := slices.IndexFunc(l.hosts, func(h *Host) bool { return h.name == name })
	if i < 0 {
		return nil
	}
	return l.hosts[i]
}

// plug lays a cable from the LAN to the link of that name on the host.
func (h *Host) plug(lan *LAN, link string) error {
	lan.mu.Lock()
	n := len(lan.ports)
	lan.mu.Unlock()
	p := &port{host: h, link: link, mac: net.HardwareAddr{0x02, 0xda, 0, byte(lan.number), 1, byte(firstHost + n)}}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = h.name
	attrs.MasterIndex = lan.bridge.Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: link, PeerHardwareAddr: p.mac, PeerNamespace: netlink.NsFd(h.ns[1].Fd())}
	if err := lan.netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth: %w", err)
	}
	side, err := lan.netlink.LinkByName(h.name)
	if err != nil {
		return err
	}
	p.index = side.Attrs().Index
	for _, prefix := range lan.prefixes {
		p.addrs = append(p.addrs, nth(prefix, firstHost+n))
	}
	lan.mu.Lock()
	lan.ports = append(lan.ports, p)
	lan.mu.Unlock()
	h.own = append(h.own, p.addrs)
	if err := lan.netlink.LinkSetUp(side); err != nil {
		return err
	}
	if err := h.up(link); err != nil {
		return err
	}
	for _, prefix := range p.addrs {
		if err := h.AddAddr(prefix, link); err != nil {
			return err
		}
	}
	return h.Sysctl("net.ipv6.conf." + link + ".accept_dad=1")
}

func (h *Host) up(link string) error {
	l, err := h.netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("finding %s on %s: %w", link, h.name, err)
	}
	return h.netlink.LinkSetUp(l)
}

// Name is the host's name, also what uname says on it.
func (h *Host) Name() string { return h.name }

// Addr is the host's own IPv4 address on its first LAN.
func (h *Host) Addr() netip.Addr { return h.addrOn(0, netip.Addr.Is4) }

// Addr6 is the host's own IPv6 address on its first LAN.
func (h *Host) Addr6() netip.Addr { return h.addrOn(0, netip.Addr.Is6) }

// AddrOn is the host's own IPv4 address on the LAN, zero when it is not on it.
func (h *Host) AddrOn(lan *LAN) netip.Addr {
	return h.addrOn(slices.Index(h.lans, lan), netip.Addr.Is4)
}

// Addr6On is the host's own IPv6 address on the LAN, zero when it is not on it.
func (h *Host) Addr6On(lan *LAN) netip.Addr {
	return h.addrOn(slices.Index(h.lans, lan), netip.Addr.Is6)
}

func (h *Host) addrOn(link int, family func(netip.Addr) bool) netip.Addr {
	if link < 0 || link >= len(h.own) {
		return netip.Addr{}
	}
	for _, p := range h.own[link] {
		if family(p.Addr()) {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// MAC is the hardware address of the host's link on its first LAN.
func (h *Host) MAC() net.HardwareAddr { return h.lans[0].portOf(h).mac }

// Netlink is a routing-netlink socket in the host's namespace, for what this
// package has no method for. It is closed with the lab.
func (h *Host) Netlink() *netlink.Handle { return h.netlink }

// Do runs f on a thread inside the host: sockets it opens, processes it starts and
// files it names are the host's. Goroutines that f starts are not inside, nor do
// relative paths mean what they mean outside.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// Dial connects from the host. The address must be numeric. It fits
// http.Transport.DialContext.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	dialer := net.Dialer{FallbackDelay: -1} // a parallel attempt would run on a thread outside
	err = h.Do(func() error {
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen accepts connections on the host; the address must be numeric.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenPacket receives datagrams on the host; the address must be numeric.
func (h *Host) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = h.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// WriteFile writes a file as the host sees it, making its folders. Below /etc only
// this host sees it; elsewhere the whole bed does. Readers see the old or the new
// text, whole.
func (h *Host) WriteFile(path string, data []byte) error {
	return h.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		// Beside it, then over it: in a user namespace a file of the machine's root may be
		// replaced in the host's /etc, but not opened for writing.
		if err := os.WriteFile(path+".new", data, 0o644); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	})
}

// Sysctl sets each "net.ipv4.ip_forward=1" on the host.
func (h *Host) Sysctl(settings ...string) error {
	return h.Do(func() error {
		var errs []error
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			errs = append(errs, writeSysctl(key, value))
		}
		return errors.Join(errs...)
	})
}

func writeSysctl(key, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s to %q: %w", key, value, err)
	}
	return nil
}

// close kills the host's commands and frees its namespaces.
func (h *Host) close() error {
	errs := []error{h.KillAll()}
	if h.netlink != nil {
		h.netlink.Close()
	}
	return errors.Join(append(errs, h.ns.close())...)
}

// signalAll sends a signal to every command that still runs.
func (h *Host) signalAll(sig syscall.Signal) error {
	var errs []error
	for _, c := range h.running() {
		errs = append(errs, c.Signal(sig))
	}
	return errors.Join(errs...)
}

func (h *Host) running() []*Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands = slices.DeleteFunc(h.commands, func(c *Command) bool { return c.exited() })
	return slices.Clone(h.commands)
}

// KillAll sends SIGKILL to every command on the host and waits for their ends.
func (h *Host) KillAll() error {
	var errs []error
	for _, c := range h.running() {
		errs = append(errs, c.Signal(unix.SIGKILL))
		<-c.Done()
	}
	return errors.Join(errs...)
}
