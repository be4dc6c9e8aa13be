package equinix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
	cloudproviderapi "k8s.io/cloud-provider/api"
)

// ProviderName is what --cloud-provider says for this package, and the scheme of a Node's providerID.
const ProviderName = "equinixmetal"

// legacyScheme is that of Nodes that joined before the vendor was renamed.
const legacyScheme = "packet"

// stateOff is the state of a device that is switched off.
const stateOff = "inactive"

// Instances tells the framework's node controllers what the Nodes are. It answers from [Devices], so that a Node costs no call of its own, save
// one that seems to be gone: the framework deletes such a Node, so a listing's word is not enough, and the API is asked for that device.
// It is safe for concurrent use.
type Instances struct {
	api     API
	devices *Devices
}

var _ cloudprovider.InstancesV2 = (*Instances)(nil)

// NewInstances returns the instances of the devices.
func NewInstances(api API, devices *Devices) *Instances { return &Instances{api, devices} }

// InstanceExists reports whether the Node's device is there. Only the API's "not found" for the ID in providerID means that it isn't: a Node without
// one, or of another provider, is an error, which leaves the Node alone.
func (i *Instances) InstanceExists(ctx context.Context, node *corev1.Node) (bool, error) {
	_, err := i.devices.Of(ctx, node)
	if !errors.Is(err, ErrNotFound) {
		return err == nil, err
	}
	id, err := DeviceID(node.Spec.ProviderID)
	if err != nil {
		return false, fmt.Errorf("node %s: %w", node.Name, err)
	}
	switch _, err = i.api.Device(ctx, id); {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// InstanceShutdown reports whether the Node's device is switched off.
func (i *Instances) InstanceShutdown(ctx context.Context, node *corev1.Node) (bool, error) {
	device, err := i.devices.Of(ctx, node)
	return device.State == stateOff, err
}

// InstanceMetadata returns what the Node is labelled with: the plan as its type, metro and facility as region and zone.
func (i *Instances) InstanceMetadata(ctx context.Context, node *corev1.Node) (*cloudprovider.InstanceMetadata, error) {
	device, err := i.devices.Of(ctx, node)
	if err != nil {
		return nil, err
	}
	return &cloudprovider.InstanceMetadata{
		ProviderID: ProviderName + "://" + device.ID, InstanceType: device.Plan, Region: device.Metro, Zone: device.Facility,
		NodeAddresses: nodeAddresses(device, node),
	}, nil
}

// nodeAddresses returns the device's own addresses, private ones as internal; elastic ones that are assigned to it are not its own. The address that the
// kubelet was told to use (--node-ip) is internal too when the API doesn't know it, such as one of a VLAN: without it the framework would
// never let the Node in.
func nodeAddresses(device Device, node *corev1.Node) []corev1.NodeAddress {
	out := []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: device.Hostname}}
	known := map[netip.Addr]bool{}
	for _, a := range device.Addresses {
		if !a.Managed {
			continue
		}
		kind := corev1.NodeInternalIP
		if a.Public {
			kind = corev1.NodeExternalIP
		}
		known[a.Addr] = true
		out = append(out, corev1.NodeAddress{Type: kind, Address: a.Addr.String()})
	}
	for text := range strings.SplitSeq(node.Annotations[cloudproviderapi.AnnotationAlphaProvidedIPAddr], ",") {
		if addr, err := netip.ParseAddr(strings.TrimSpace(text)); err == nil && !known[addr] {
			out = slices.Insert(out, 1, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
		}
	}
	return out
}

// DeviceID returns the device's UUID in a Node's providerID: equinixmetal://<uuid>, packet://<uuid> or the UUID alone.
func DeviceID(providerID string) (string, error) {
	scheme, id, found := strings.Cut(providerID, "://")
	if !found {
		scheme, id = ProviderName, providerID
	}
	if scheme != ProviderName && scheme != legacyScheme {
		return "", fmt.Errorf("providerID %q is another provider's", providerID)
	}
	id = strings.ToLower(id)
	if !isUUID(id) {
		return "", fmt.Errorf("providerID %q has no UUID of a device", providerID)
	}
	return id, nil
}

// isUUID reports whether text is in the form of RFC 9562, section 4, in lower case.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range []byte(text) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		digit := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		if dash && c != '-' || !dash && !digit {
			return false
		}
	}
	return true
}
