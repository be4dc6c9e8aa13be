package equinix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// How fresh the project's devices are.
const (
	// DevicesAge is how old a listing may be to answer from.
	DevicesAge = 30 * time.Second
	// devicesPause is how old a listing, or its failure, must be before what it lacks is worth another one.
	devicesPause = 10 * time.Second
)

// Devices is the project's devices, listed whole when somebody asks and the last listing is older than [DevicesAge]: one call for each 1,000 devices, whatever the
// number of Nodes and of those who ask. A device that a listing lacks, such as one that has just been made, is looked for again after 10 s. A
// failed listing is everybody's answer for 10 s. It is safe for concurrent use.
type Devices struct {
	api API
	now func() time.Time

	turn   chan struct{} // holds the right to what follows
	all    map[string]Device
	named  map[string][]string // IDs by host name, in lower case
	listed time.Time
	failed error // of the last listing, nil if it succeeded
	tried  time.Time
}

// NewDevices returns the devices of api's project; it makes no call.
func NewDevices(api API) *Devices {
	return &Devices{api: api, now: time.Now, turn: make(chan struct{}, 1)}
}

// Check lists the devices now: at start, so that a wrong token, project or URL is found before anything else is done.
func (d *Devices) Check(ctx context.Context) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	return d.list(ctx)
}

// Of returns the device of a Node: by the UUID in its providerID, or by its name where it has none yet. The error has [ErrNotFound] when the project has
// no such device, as far as a listing says.
func (d *Devices) Of(ctx context.Context, node *corev1.Node) (Device, error) {
	find, what := d.byName(node.Name), fmt.Sprintf("a device with host name %s", node.Name)
	if node.Spec.ProviderID != "" {
		id, err := DeviceID(node.Spec.ProviderID)
		if err != nil {
			return Device{}, fmt.Errorf("node %s: %w", node.Name, err)
		}
		find, what = d.byID(id), "device "+id
	}
	if err := d.lock(ctx); err != nil {
		return Device{}, err
	}
	defer d.unlock()
	if err := d.refresh(ctx, DevicesAge); err != nil {
		return Device{}, err
	}
	found := find()
	if len(found) == 0 {
		if err := d.refresh(ctx, devicesPause); err != nil {
			return Device{}, err
		}
		found = find()
	}
	switch len(found) {
	case 0:
		return Device{}, fmt.Errorf("node %s: the project has not %s: %w", node.Name, what, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return Device{}, fmt.Errorf("node %s: %d devices have that host name; start its kubelet with --provider-id=%s://<uuid>", node.Name, len(found), ProviderName)
}

func (d *Devices) byID(id string) func() []Device {
	return func() []Device {
		if device, ok := d.all[id]; ok {
			return []Device{device}
		}
		return nil
	}
}

func (d *Devices) byName(name string) func() []Device {
	return func() []Device {
		var out []Device
		for _, id := range d.named[strings.ToLower(name)] {
			out = append(out, d.all[id])
		}
		return out
	}
}

// refresh makes the listing no older than age, unless the last one failed just now.
func (d *Devices) refresh(ctx context.Context, age time.Duration) error {
	now := d.now()
	switch {
	case d.failed != nil && now.Sub(d.tried) < devicesPause:
		return d.failed
	case d.failed == nil && !d.listed.IsZero() && now.Sub(d.listed) < age:
		return nil
	}
	return d.list(ctx)
}

func (d *Devices) list(ctx context.Context) error {
	d.tried = d.now()
	all, err := d.api.Devices(ctx)
	if ctx.Err() != nil {
		return ctx.Err() // the caller's end says nothing of the API
	}
	if errors.Is(err, ErrNotFound) { // of the project: no device is said to be gone
		err = fmt.Errorf("%w; check projectId: %v", ErrNoProject, err)
	}
	if d.failed = err; err != nil {
		return err
	}
	d.listed, d.all, d.named = d.tried, map[string]Device{}, map[string][]string{}
	for _, device := range all {
		id, name := strings.ToLower(device.ID), strings.ToLower(device.Hostname)
		d.all[id] = device
		d.named[name] = append(d.named[name], id)
	}
	for _, ids := range d.named {
		slices.Sort(ids)
	}
	return nil
}

func (d *Devices) lock(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Devices) unlock() { <-d.turn }
