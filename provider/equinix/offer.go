package equinix

import (
	"cmp"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"daymark/ipam"
)

// Annotations on a Service that say what is bought for it. One that has its address keeps it.
const (
	// EIPType is "public_ipv4" (the default) or "private_ipv4".
	EIPType = "metal.equinix.com/eip-type"
	// EIPMetro and EIPFacility say where, unless the configuration does; those of the Equinix CCM.
	EIPMetro    = "metal.equinix.com/eip-metro"
	EIPFacility = "metal.equinix.com/eip-facility"
)

// offer is what can be bought: the purchases of one offer share its quota.
type offer struct {
	Kind            Kind
	Metro, Facility string
}

// String returns "public_ipv4 in da".
func (o offer) String() string {
	if place := cmp.Or(o.Metro, o.Facility); place != "" {
		return string(o.Kind) + " in " + place
	}
	return string(o.Kind)
}

// offerOf returns what is to be bought for a Service.
func (e *EIPs) offerOf(svc *corev1.Service) (offer, error) {
	o := offer{Kind: Kind(svc.Annotations[EIPType]), Metro: e.Metro, Facility: e.Facility}
	var errs []error
	switch o.Kind {
	case "":
		o.Kind = PublicIPv4
	case PublicIPv4, PrivateIPv4:
	default:
		errs = append(errs, fmt.Errorf("annotation %s=%q: use %s or %s", EIPType, o.Kind, PublicIPv4, PrivateIPv4))
	}
	if o.Metro == "" && o.Facility == "" {
		if o.Facility = svc.Annotations[e.FacilityKey]; o.Facility == "" {
			o.Metro = svc.Annotations[e.MetroKey]
		}
	}
	if o.Metro == "" && o.Facility == "" {
		errs = append(errs, fmt.Errorf("nothing says where to buy an address: set metro in the cloud config, or the annotation %s", e.MetroKey))
	}
	return o, errors.Join(errs...)
}

// families returns what a Service can't get, since the API sells single IPv4 addresses only; final tells that it gets nothing at all.
func families(r ipam.Request) (missing ipam.Refusals, final bool) {
	no := ipam.Refusals{{Reason: ipam.WrongFamily, Family: ipam.IPv6, Pools: []string{vendor}}}
	switch r.Policy {
	case ipam.RequireDualStack:
		return no, true
	case ipam.PreferDualStack:
		return no, false
	}
	if len(r.Families) > 0 && r.Families[0] == ipam.IPv6 {
		return no, true
	}
	return nil, false
}

// explained returns what a failure means for whoever waits for an address, and what helps. It says nothing that differs from one failure to the next.
func explained(what *offer, err error) string {
	var o offer
	if what != nil {
		o = *what
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrPayment):
		return fmt.Sprintf("%s can't be bought: settle the account's payment; tried again every minute (%v)", o, err)
	case errors.Is(err, ErrUnauthorized):
		return fmt.Sprintf("the API token is refused: put a read-write token of the project in the cloud config and restart the ccm; tried again every minute (%v)", err)
	case errors.Is(err, ErrRefused), errors.Is(err, ErrExists), errors.Is(err, ErrNotFound):
		return fmt.Sprintf("%s can't be bought: give back what the project doesn't need or ask for a higher quota, and see that this kind is sold there; tried again every minute (%v)", o, err)
	}
	return "the " + vendor + " API is unavailable; tried again at least every 30 s"
}
