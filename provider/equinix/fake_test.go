package equinix_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"daymark/provider/equinix"
)

// fakeAPI is an account in memory that records its calls and fails where it is told to.
type fakeAPI struct {
	mu           sync.Mutex
	calls        map[string]int
	fail         map[string]error // by call, before it is done
	lost         map[string]error // by call, after it was done
	devices      []equinix.Device
	reservations []equinix.Reservation
	neighbours   map[string][]equinix.Neighbour
	sessions     map[string]bool
	projectBGP   bool
	next         int
	meanwhile    func()       // once, while an answer to Reservations is under way
	latency      func(string) // before and after each call, unless nil
}

func newFakeAPI() *fakeAPI {
	return &fakeAPI{
		calls: map[string]int{}, fail: map[string]error{}, lost: map[string]error{},
		neighbours: map[string][]equinix.Neighbour{}, sessions: map[string]bool{},
	}
}

// call begins a call; the function it returns ends it.
func (f *fakeAPI) call(name string) (end func() error, err error) {
	f.wait(name)
	f.mu.Lock()
	f.calls[name]++
	if err := f.fail[name]; err != nil {
		f.mu.Unlock()
		return nil, err
	}
	return func() error {
		defer f.mu.Unlock()
		return f.lost[name]
	}, nil
}

func (f *fakeAPI) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[name]
}

// set changes the account while nobody is in it.
func (f *fakeAPI) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeAPI) Reservations(context.Context) ([]equinix.Reservation, error) {
	end, err := f.call("Reservations")
	if err != nil {
		return nil, err
	}
	out, meanwhile := slices.Clone(f.reservations), f.meanwhile
	f.meanwhile = nil
	err = end()
	if meanwhile != nil {
		meanwhile()
	}
	f.wait("Reservations")
	return out, err
}

func (f *fakeAPI) wait(call string) {
	if f.latency != nil {
		f.latency(call)
	}
}

func (f *fakeAPI) Reserve(_ context.Context, r equinix.ReserveRequest) (equinix.Reservation, error) {
	end, err := f.call("Reserve")
	if err != nil {
		return equinix.Reservation{}, err
	}
	f.next++
	made := equinix.Reservation{
		ID: fmt.Sprintf("r%03d", f.next), Kind: r.Kind, Metro: r.Metro, Tags: r.Tags, State: "created",
		Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, 0, byte(f.next)}), 32),
	}
	f.reservations = append(f.reservations, made)
	err = end()
	f.wait("Reserve")
	return made, err
}

func (f *fakeAPI) Release(_ context.Context, id string) error {
	end, err := f.call("Release")
	if err != nil {
		return err
	}
	f.reservations = slices.DeleteFunc(slices.Clone(f.reservations), func(r equinix.Reservation) bool { return r.ID == id })
	err = end()
	f.wait("Release")
	return err
}

func (f *fakeAPI) SetTags(context.Context, string, []string) error { panic("not called") }

func (f *fakeAPI) Assign(context.Context, string, netip.Addr) (equinix.Assignment, error) {
	panic("not called")
}

func (f *fakeAPI) Unassign(context.Context, string) error {
	end, err := f.call("Unassign")
	if err != nil {
		return err
	}
	return end()
}

func (f *fakeAPI) Device(_ context.Context, id string) (equinix.Device, error) {
	end, err := f.call("Device")
	if err != nil {
		return equinix.Device{}, err
	}
	for _, d := range f.devices {
		if d.ID == id {
			return d, end()
		}
	}
	_ = end()
	return equinix.Device{}, equinix.ErrNotFound
}

func (f *fakeAPI) Devices(context.Context) ([]equinix.Device, error) {
	end, err := f.call("Devices")
	if err != nil {
		return nil, err
	}
	return slices.Clone(f.devices), end()
}

func (f *fakeAPI) EnableBGP(context.Context, uint32, string) error {
	end, err := f.call("EnableBGP")
	if err != nil {
		return err
	}
	f.projectBGP = true
	return end()
}

func (f *fakeAPI) CreateSession(_ context.Context, device string, _ equinix.Family) error {
	end, err := f.call("CreateSession")
	if err != nil {
		return err
	}
	if !f.projectBGP {
		_ = end()
		return equinix.ErrRefused
	}
	f.sessions[device] = true
	return end()
}

func (f *fakeAPI) Neighbours(_ context.Context, device string) ([]equinix.Neighbour, error) {
	end, err := f.call("Neighbours")
	if err != nil {
		return nil, err
	}
	var out []equinix.Neighbour
	if f.sessions[device] {
		out = slices.Clone(f.neighbours[device])
	}
	return out, end()
}

// uuid is the ID of the nth device.
func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// device is the nth device, with a private and a public address of its own and an elastic one.
func device(n int) equinix.Device {
	private := netip.AddrFrom4([4]byte{10, 64, 1, byte(2*n + 1)})
	return equinix.Device{
		ID: uuid(n), Hostname: fmt.Sprintf("node-%d", n), Plan: "c3.small.x86", Metro: "da", Facility: "da11", State: "active",
		Addresses: []equinix.DeviceAddress{
			{Addr: netip.AddrFrom4([4]byte{198, 18, 0, byte(2*n + 1)}), Public: true, Managed: true},
			{Addr: private, Managed: true, Parent: netip.MustParsePrefix("10.64.1.0/25")},
			{Addr: netip.MustParseAddr("198.19.9.9"), Public: true},
		},
	}
}

func neighbour(n int, password string) equinix.Neighbour {
	return equinix.Neighbour{
		Family: equinix.IPv4, LocalASN: 65000, LocalAddr: netip.AddrFrom4([4]byte{10, 64, 1, byte(2*n + 1)}), PeerASN: 65530,
		Peers:    []netip.Addr{netip.MustParseAddr("169.254.255.1"), netip.MustParseAddr("169.254.255.2")},
		Password: password, Multihop: true,
	}
}

// show renders addresses for comparison.
func show(all []netip.Addr) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}
