package equinix_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cloudprovider "k8s.io/cloud-provider"

	"daymark/provider/equinix"
)

func node(n int, providerID string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", n), Labels: map[string]string{"pool": fmt.Sprint(n % 2)}},
		Spec:       corev1.NodeSpec{ProviderID: providerID},
	}
}

func TestDeviceID(t *testing.T) {
	for text, want := range map[string]string{
		"equinixmetal://" + uuid(1): uuid(1),
		"packet://" + uuid(1):       uuid(1),
		uuid(1):                     uuid(1),
		"equinixmetal://" + strings.ToUpper(uuid(10)): uuid(10),
		"aws:///eu-west-1a/i-1":                       "",
		"equinixmetal://node-1":                       "",
		"equinixmetal://" + uuid(1) + "/x":            "",
		"":                                            "",
	} {
		got, err := equinix.DeviceID(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func FuzzDeviceID(f *testing.F) {
	f.Add("equinixmetal://" + uuid(1))
	f.Add("packet://x")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := equinix.DeviceID(text); err == nil {
			if again, err := equinix.DeviceID("equinixmetal://" + id); again != id || err != nil {
				t.Errorf("%q: %q, then %q, %v", text, id, again, err)
			}
		}
	})
}

func TestMetadata(t *testing.T) {
	api := newFakeAPI()
	api.devices = []equinix.Device{device(1), device(2)}
	i := equinix.NewInstances(api, equinix.NewDevices(api))
	vlan := node(1, "")
	vlan.Annotations = map[string]string{"alpha.kubernetes.io/provided-node-ip": "192.168.7.1,10.64.1.3"}
	got, err := i.InstanceMetadata(t.Context(), vlan)
	want := &cloudprovider.InstanceMetadata{
		ProviderID: "equinixmetal://" + uuid(1), InstanceType: "c3.small.x86", Region: "da", Zone: "da11",
		NodeAddresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "node-1"}, {Type: corev1.NodeInternalIP, Address: "192.168.7.1"},
			{Type: corev1.NodeExternalIP, Address: "198.18.0.3"}, {Type: corev1.NodeInternalIP, Address: "10.64.1.3"},
		},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if got, err := i.InstanceMetadata(t.Context(), node(9, "packet://"+uuid(2))); err != nil || got.ProviderID != "equinixmetal://"+uuid(2) {
		t.Error("by its ID:", got, err)
	}
	api.set(func() { api.devices = append(api.devices, device(1)); api.devices[2].ID = uuid(3) })
	twice := equinix.NewInstances(api, equinix.NewDevices(api))
	if _, err := twice.InstanceMetadata(t.Context(), node(1, "")); err == nil || !strings.Contains(err.Error(), "--provider-id") {
		t.Error("two devices of one name:", err)
	}
}

// TestOnlyTheAPIsWordDeletesANode plays what must never make the framework delete a Node, and the one thing that must.
func TestOnlyTheAPIsWordDeletesANode(t *testing.T) {
	of := func(n int) *corev1.Node { return node(n, "equinixmetal://"+uuid(n)) }
	down := fmt.Errorf("listing: %w", equinix.ErrUnavailable)
	for name, test := range map[string]struct {
		prepare func(*fakeAPI)
		node    *corev1.Node
		exists  bool
		err     bool
	}{
		"there":                       {func(*fakeAPI) {}, of(1), true, false},
		"gone":                        {func(f *fakeAPI) { f.devices = nil }, of(1), false, false},
		"the listing fails":           {func(f *fakeAPI) { f.fail["Devices"] = down }, of(1), false, true},
		"API away when asked again":   {func(f *fakeAPI) { f.devices = nil; f.fail["Device"] = down }, of(1), false, true},
		"the project is not there":    {func(f *fakeAPI) { f.fail["Devices"] = equinix.ErrNotFound; f.devices = nil }, of(1), false, true},
		"another provider's":          {func(*fakeAPI) {}, node(1, "aws:///i-1"), false, true},
		"never initialized, no match": {func(*fakeAPI) {}, node(7, ""), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			api := newFakeAPI()
			api.devices = []equinix.Device{device(1)}
			test.prepare(api)
			i := equinix.NewInstances(api, equinix.NewDevices(api))
			exists, err := i.InstanceExists(t.Context(), test.node)
			if exists != test.exists || (err != nil) != test.err {
				t.Errorf("exists %v, %v", exists, err)
			}
		})
	}
}

func TestShutdown(t *testing.T) {
	api := newFakeAPI()
	api.devices = []equinix.Device{device(1), device(2)}
	api.devices[1].State = "inactive"
	i := equinix.NewInstances(api, equinix.NewDevices(api))
	for n, want := range map[int]bool{1: false, 2: true} {
		if got, err := i.InstanceShutdown(t.Context(), node(n, "")); got != want || err != nil {
			t.Errorf("node-%d: %v, %v", n, got, err)
		}
	}
}

// TestOneListingServesAll counts the calls of a hundred Nodes over time.
func TestOneListingServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFakeAPI()
		for n := range 100 {
			api.devices = append(api.devices, device(n))
		}
		i := equinix.NewInstances(api, equinix.NewDevices(api))
		for range 12 { // a minute of the lifecycle controller, every Node not ready
			for n := range 100 {
				if ok, err := i.InstanceExists(t.Context(), node(n, "equinixmetal://"+uuid(n))); !ok || err != nil {
					t.Fatal(n, ok, err)
				}
			}
			time.Sleep(5 * time.Second)
		}
		if n := api.count("Devices"); n != 2 || api.count("Device") != 0 {
			t.Errorf("%d listings and %d devices asked for in a minute, want 2 and 0", n, api.count("Device"))
		}
		api.set(func() { api.devices = append(api.devices, device(100)) })
		time.Sleep(10 * time.Second)
		if _, err := i.InstanceMetadata(t.Context(), node(100, "")); err != nil {
			t.Error("a device made after the listing:", err)
		}
		api.set(func() { api.fail["Devices"] = equinix.ErrUnavailable })
		time.Sleep(time.Minute)
		before := api.count("Devices")
		for n := range 100 {
			if _, err := i.InstanceMetadata(t.Context(), node(n, "")); !errors.Is(err, equinix.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if n := api.count("Devices") - before; n != 1 {
			t.Errorf("%d failed listings for a hundred Nodes, want 1", n)
		}
	})
}
