package equinix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/equinix/equinix-sdk-go/services/metalv1"
)

// Device implements [API].
func (c *Client) Device(ctx context.Context, id string) (Device, error) {
	got, resp, err := c.api.DevicesApi.FindDeviceById(ctx, id).Include([]string{"ip_addresses.parent_block", "parent_block"}).Execute()
	if err != nil {
		return Device{}, explain("reading device "+id, resp, err)
	}
	return device(got), nil
}

// Devices implements [API].
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	var out []Device
	for n := int32(1); n <= maxPages; n++ {
		got, resp, err := c.api.DevicesApi.FindProjectDevices(ctx, c.project).
			Include([]string{"ip_addresses.parent_block", "parent_block"}).Page(n).PerPage(perPage).Execute()
		if err != nil {
			return nil, explain("listing devices", resp, err)
		}
		for i := range got.Devices {
			out = append(out, device(&got.Devices[i]))
		}
		if got.Meta == nil || got.Meta.GetLastPage() <= got.Meta.GetCurrentPage() {
			return out, nil
		}
	}
	return nil, fmt.Errorf("listing devices: more than %d pages", maxPages)
}

func device(d *metalv1.Device) Device {
	out := Device{ID: d.GetId(), Hostname: d.GetHostname(), State: string(d.GetState())}
	if d.Plan != nil {
		out.Plan = d.Plan.GetSlug()
	}
	if d.Metro != nil {
		out.Metro = d.Metro.GetCode()
	}
	if d.Facility != nil {
		out.Facility = d.Facility.GetCode()
	}
	for i := range d.IpAddresses {
		ip := &d.IpAddresses[i]
		addr, err := netip.ParseAddr(ip.GetAddress())
		if err != nil {
			continue
		}
		a := DeviceAddress{Addr: addr, Public: ip.GetPublic(), Managed: ip.GetManagement()}
		a.Gateway, _ = netip.ParseAddr(ip.GetGateway())
		if ip.ParentBlock != nil {
			if network, err := netip.ParseAddr(ip.ParentBlock.GetNetwork()); err == nil {
				a.Parent = netip.PrefixFrom(network, int(ip.ParentBlock.GetCidr()))
			}
		}
		out.Addresses = append(out.Addresses, a)
	}
	return out
}

// EnableBGP implements [API].
func (c *Client) EnableBGP(ctx context.Context, asn uint32, password string) error {
	have, resp, err := c.api.BGPApi.FindBgpConfigByProject(ctx, c.project).Execute()
	if err = explain("reading the project's BGP configuration", resp, err); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil && have.GetId() != "" {
		return nil
	}
	in := metalv1.NewBgpConfigRequestInput(int64(asn), metalv1.BGPCONFIGREQUESTINPUTDEPLOYMENTTYPE_LOCAL)
	in.SetUseCase("Kubernetes Services")
	if password != "" {
		in.SetMd5(password)
	}
	resp, err = c.api.BGPApi.RequestBgpConfig(ctx, c.project).BgpConfigRequestInput(*in).Execute()
	if err = explain("enabling BGP on the project", resp, err); errors.Is(err, ErrExists) {
		return nil
	}
	return err
}

// CreateSession implements [API].
func (c *Client) CreateSession(ctx context.Context, device string, family Family) error {
	of := metalv1.BGPSessionInputAddressFamily(family)
	_, resp, err := c.api.DevicesApi.CreateBgpSession(ctx, device).BGPSessionInput(metalv1.BGPSessionInput{AddressFamily: &of}).Execute()
	if err = explain(fmt.Sprintf("enabling %s BGP on device %s", family, device), resp, err); errors.Is(err, ErrExists) {
		return nil
	}
	return err
}

// Neighbours implements [API].
func (c *Client) Neighbours(ctx context.Context, id string) ([]Neighbour, error) {
	got, resp, err := c.api.DevicesApi.GetBgpNeighborData(ctx, id).Execute()
	if err != nil {
		return nil, explain("reading BGP neighbours of device "+id, resp, err)
	}
	var out []Neighbour
	for i := range got.BgpNeighbors {
		n := &got.BgpNeighbors[i]
		next := Neighbour{Family: IPv4, LocalASN: uint32(n.GetCustomerAs()), PeerASN: uint32(n.GetPeerAs()), Multihop: n.GetMultihop()}
		if n.GetAddressFamily() == 6 {
			next.Family = IPv6
		}
		if next.LocalAddr, err = netip.ParseAddr(n.GetCustomerIp()); err != nil {
			return nil, fmt.Errorf("reading BGP neighbours of device %s: customer_ip %q: %w", id, n.GetCustomerIp(), err)
		}
		if n.GetMd5Enabled() {
			next.Password = n.GetMd5Password()
		}
		for _, text := range n.GetPeerIps() {
			peer, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("reading BGP neighbours of device %s: peer_ips %q: %w", id, text, err)
			}
			next.Peers = append(next.Peers, peer)
		}
		out = append(out, next)
	}
	return out, nil
}
