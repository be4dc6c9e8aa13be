// Package metal is the vendor's network around a simulated API (package metalapi), on hosts of a netns.Lab: devices behind two routers that are their BGP
// peers at 169.254.255.1 and 169.254.255.2, and a client behind those.
//
// Where the vendor's network routes an elastic address to the device that the API assigned it to, both routers here get a route to it, at once. That is
// a stand-in: how long the vendor took for it isn't known, and isn't in what is measured.
package metal

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"

	"daymark/test/metalapi"
	"daymark/test/netns"
)

// The account.
const (
	Token   = "0123456789abcdef-of-the-demo" // checked by the API, of no use elsewhere
	Project = "5f2f3a3e-6d0a-4b57-9d5a-2f6f0f3f7b11"
	Metro   = "da"
	// ControlPlaneTag is that of the control plane's address.
	ControlPlaneTag = "cluster-api-provider-packet:cluster-id:demo"
	// LocalASN and Password are of the project's BGP, PeerASN of the routers.
	LocalASN = 65000
	PeerASN  = 65530
	Password = "md5-of-the-project"
)

// Elastic and Private are where the addresses come from that the project buys; they are in no network of the devices.
var (
	Elastic = netip.MustParsePrefix("198.19.128.0/24")
	Private = netip.MustParsePrefix("198.19.129.0/24")
	peers   = [...]netip.Addr{netip.MustParseAddr("169.254.255.1"), netip.MustParseAddr("169.254.255.2")}
)

// Network is the vendor's side. It is safe for concurrent use.
type Network struct {
	API *metalapi.Server
	// URL is the API's, with its path.
	URL string
	// LAN is where the devices are, Routers what they peer with, Client a host behind both.
	LAN     *netns.LAN
	Routers [2]*netns.Host
	Client  *netns.Host

	log *slog.Logger

	mu      sync.Mutex // guards what follows
	devices map[string]*netns.Host
}

// New lays out the network and serves the API on a host of its own, until the lab is closed.
func New(lab *netns.Lab, log *slog.Logger) (*Network, error) {
	n := &Network{log: log, devices: map[string]*netns.Host{}}
	n.API = metalapi.New(metalapi.Config{
		Token: Token, Project: Project, Metro: Metro, Public: Elastic, Private: Private, Routed: n.route, Log: log,
	})
	outside, err := lab.AddLAN("outside")
	if err != nil {
		return nil, err
	}
	if n.LAN, err = lab.AddLAN("metal"); err != nil {
		return nil, err
	}
	for i := range n.Routers {
		if n.Routers[i], err = lab.AddHost(fmt.Sprintf("router-%d", i+1), n.LAN, outside); err != nil {
			return nil, err
		}
		const perConnection = "net.ipv4.fib_multipath_hash_policy=1" // not all of one client's to one device
		if err := errors.Join(n.Routers[i].Forward(), n.Routers[i].Sysctl(perConnection), n.Routers[i].AddAddr(netip.PrefixFrom(peers[i], 32), "lo")); err != nil {
			return nil, err
		}
	}
	if n.Client, err = lab.AddHost("client", outside); err != nil {
		return nil, err
	}
	if err := n.Client.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), n.Routers[0].AddrOn(outside)); err != nil {
		return nil, err
	}
	api, err := lab.AddHost("metal-api", n.LAN)
	if err != nil {
		return nil, err
	}
	listener, err := api.Listen("tcp", netip.AddrPortFrom(api.Addr(), 80).String())
	if err != nil {
		return nil, err
	}
	n.URL = "http://" + listener.Addr().(*net.TCPAddr).AddrPort().String() + metalapi.Prefix
	go func() { _ = http.Serve(listener, n.API) }() // ends with the process
	return n, nil
}

// AddDevice makes a host of the LAN a device: the account has it, and it knows the ways to the routers. It returns the device's ID.
func (n *Network) AddDevice(host *netns.Host) (string, error) {
	if err := errors.Join(
		host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), n.Routers[0].Addr()),
		host.AddRoute(netip.PrefixFrom(peers[0], 32), n.Routers[0].Addr()), // as the vendor's manual has it for its customers' devices
		host.AddRoute(netip.PrefixFrom(peers[1], 32), n.Routers[1].Addr()),
	); err != nil {
		return "", err
	}
	id := n.API.AddDevice(metalapi.Device{
		Hostname: host.Name(), Private: netip.PrefixFrom(host.Addr(), 24), Gateway: n.Routers[0].Addr(),
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.devices[id] = host
	return id, nil
}

// Reserve buys an address with a tag, as a user would by hand.
func (n *Network) Reserve(tag string) (netip.Addr, error) {
	r, err := n.API.Reserve("public_ipv4", tag)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(r.Address)
}

// CloudConfig is the configuration file of the cloud-controller-manager and of agents, with more keys.
func (n *Network) CloudConfig(more map[string]any) ([]byte, error) {
	config := map[string]any{"apiKey": Token, "projectId": Project, "base-url": n.URL, "metro": Metro}
	for k, v := range more {
		config[k] = v
	}
	return json.Marshal(config)
}

// Where returns the host that an address is assigned to, nil for none.
func (n *Network) Where(addr netip.Addr) *netns.Host {
	for _, r := range n.API.Reservations() {
		for _, a := range r.Assignments {
			if a.Address == addr.String() {
				n.mu.Lock()
				defer n.mu.Unlock()
				return n.devices[a.AssignedTo.Href[len(metalapi.Prefix+"/devices/"):]]
			}
		}
	}
	return nil
}

// route is what the vendor's network does when the API assigns.
func (n *Network) route(addr netip.Addr, device string) {
	n.mu.Lock()
	host := n.devices[device]
	n.mu.Unlock()
	for _, r := range n.Routers {
		route := &netlink.Route{Dst: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}}
		var err error
		if host == nil {
			err = r.Netlink().RouteDel(route)
		} else {
			route.Gw = host.Addr().AsSlice()
			err = r.Netlink().RouteReplace(route)
		}
		if err != nil {
			n.log.Warn("routing an elastic address", "addr", addr, "host", r.Name(), "err", err)
		}
	}
}
