// Package equinix takes addresses from the Equinix Metal API: elastic addresses (EIPs) for Services and for the control
// plane, BGP sessions of devices, and what the nodes are. Equinix ended the public service on 2026-06-30; the package
// stays as the reference for providers of that kind and for private copies of the API.
//
// Both programs use the [Client]: the CCM for everything, the agent to move the control plane's EIP to its own device.
package equinix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// API is the calls of the Equinix Metal API that Daymark makes; [Client] is the real one. All are safe for concurrent use.
// Errors wrap one of the sentinels below where the caller can act on it.
type API interface {
	// Reservations lists what the project owns with its assignments; blocks of VRFs are left out.
	Reservations(ctx context.Context) ([]Reservation, error)
	// Reserve buys one address. After an error the address may have been bought: look it up by its tags before trying again.
	Reserve(ctx context.Context, r ReserveRequest) (Reservation, error)
	// Release gives a reservation back; one that is gone already is no error.
	Release(ctx context.Context, reservation string) error
	// SetTags replaces the tags of a reservation.
	SetTags(ctx context.Context, reservation string, tags []string) error
	// Assign routes a reserved address to a device.
	Assign(ctx context.Context, device string, addr netip.Addr) (Assignment, error)
	// Unassign ends an assignment; one that is gone already is no error.
	Unassign(ctx context.Context, assignment string) error
	// Device returns one device, ErrNotFound if there is none.
	Device(ctx context.Context, id string) (Device, error)
	// Devices lists the project's devices.
	Devices(ctx context.Context) ([]Device, error)
	// EnableBGP switches local BGP on for the project; that it is on already is no error.
	EnableBGP(ctx context.Context, asn uint32, password string) error
	// CreateSession switches BGP on for a device and family; that it is on already is no error.
	CreateSession(ctx context.Context, device string, family Family) error
	// Neighbours returns the BGP peers of a device, in the API's order.
	Neighbours(ctx context.Context, device string) ([]Neighbour, error)
}

// What an error means for the caller; the API's own text is in the error that wraps it.
var (
	ErrNotFound     = errors.New("not found")                           // 404
	ErrUnauthorized = errors.New("the API token is refused")            // 401, 403
	ErrRefused      = errors.New("refused by the API")                  // 422: quota, payment, wrong parameter
	ErrExists       = errors.New("exists already")                      // 422 that says so
	ErrUnavailable  = errors.New("the API is unavailable")              // transport errors, 429 and 5xx after retries
	ErrPayment      = fmt.Errorf("payment is required: %w", ErrRefused) // 402
	ErrNoProject    = errors.New("there is no such project, or the token may not see it")
)

// Family is an address family in the API's words.
type Family string

// The API's address families.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// Kind is a type of reservation in the API's words.
type Kind string

// The kinds of addresses that can be reserved.
const (
	PublicIPv4  Kind = "public_ipv4"
	PrivateIPv4 Kind = "private_ipv4"
	PublicIPv6  Kind = "public_ipv6"
	GlobalIPv4  Kind = "global_ipv4"
)

// Reservation is a block that the project owns; Daymark's own are single addresses.
type Reservation struct {
	ID          string
	Kind        Kind
	Prefix      netip.Prefix
	Metro       string // code, "" for global ones
	Tags        []string
	State       string // "pending" while an approval is waited for, else "created"
	Assignments []Assignment
}

// ReserveRequest says what to buy.
type ReserveRequest struct {
	Kind     Kind
	Metro    string // code; or else
	Facility string // code
	Details  string // for people
	Tags     []string
}

// Assignment is an address at a device.
type Assignment struct {
	ID     string
	Addr   netip.Addr
	Prefix netip.Prefix // what is routed to the device, around Addr
	Device string       // UUID
}

// covers reports whether addr is routed to the device.
func (a Assignment) covers(addr netip.Addr) bool { return a.Addr == addr || a.Prefix.Contains(addr) }

// Device is a server.
type Device struct {
	ID, Hostname string
	Plan, Metro  string // slug and code
	Facility     string // code
	State        string
	Addresses    []DeviceAddress // its own come first, in the API's order
}

// DeviceAddress is an address that the API routes to a device.
type DeviceAddress struct {
	Addr    netip.Addr
	Gateway netip.Addr // may be invalid
	Parent  netip.Prefix
	Public  bool
	Managed bool // the device's own, not an assigned EIP
}

// Neighbour is one row of a device's BGP neighbour data.
type Neighbour struct {
	Family    Family
	LocalASN  uint32
	LocalAddr netip.Addr
	PeerASN   uint32
	Peers     []netip.Addr
	Password  string // "" for none
	Multihop  bool
}
