package equinix_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/metalapi"
	"daymark/test/netns"
	"daymark/test/require"
)

// bed is a real API server, the ccm as a program, and for each story an account of its own at a simulated vendor.
type bed struct {
	*controlplane.Single
	here    *netns.Host
	program string
	rights  *rest.Config // those in `ccm manifest`, and no others
}

func newBed(t *testing.T) *bed {
	t.Helper()
	set := controlplane.Programs(t)
	b := &bed{here: require.Value(netns.Test(t).Here())(t), program: filepath.Join(require.Value(product())(t), "ccm")}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b.Single = require.Value(controlplane.NewSingle(ctx, netns.Test(t), set))(t)
	manifest := require.Value(b.here.Run(ctx, b.program, "manifest", "--cloud-provider=equinixmetal", "--cloud-config-secret=metal-cloud-config"))(t)
	require.NoError(t, controlplane.Apply(ctx, b.Config, manifest))
	b.rights = b.As(require.Value(controlplane.ServiceAccount(ctx, b.Client, "kube-system", "kube-vip-cloud-controller"))(t))
	return b
}

// vendor is an account, and how the ccm is told of it.
type vendor struct {
	*bed
	api    *metalapi.Server
	server *httptest.Server
	down   atomic.Bool                   // connections are cut instead of answered
	config map[string]any                // of the cloud config
	logs   []string                      // of every ccm that was started
	env    []string                      // of the next
	args   []string                      // of the next
	kube   string                        // its kubeconfig
	cuts   atomic.Int64                  // connections that were cut
	hold   atomic.Pointer[chan struct{}] // when not nil, writes of Services stop before they are done, and this is closed
}

func (b *bed) vendor(t *testing.T, change ...func(*metalapi.Config)) *vendor {
	t.Helper()
	v := &vendor{bed: b}
	v.api, _ = account(t, append(change, func(c *metalapi.Config) { // apart from Nodes and the Service CIDR
		c.Public, c.Private = netip.MustParsePrefix("198.18.128.0/17"), netip.MustParsePrefix("10.65.0.0/16")
	})...)
	v.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v.down.Load() {
			v.cuts.Add(1)
			panic(http.ErrAbortHandler)
		}
		v.api.ServeHTTP(w, r)
	}))
	t.Cleanup(v.server.Close)
	t.Cleanup(v.server.CloseClientConnections)
	v.config = map[string]any{
		"apiKey": token, "projectID": project, "metro": "da", "base-url": v.server.URL + metalapi.Prefix, "loadbalancer": "kube-vip://", "bgpPass": "Secret0000",
	}
	v.kube = v.proxy(t)
	t.Cleanup(func() { v.secrets(t) })
	t.Cleanup(func() { v.clean(t) })
	return v
}

// proxy stands between the ccm and the API server, and holds up writes of Services where it is told to.
func (v *vendor) proxy(t *testing.T) string {
	t.Helper()
	reverse := httputil.NewSingleHostReverseProxy(require.Value(url.Parse(v.Config.Host))(t))
	reverse.Transport = require.Value(rest.TransportFor(v.rights))(t)
	reverse.FlushInterval = -1
	reverse.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reached := v.hold.Load(); reached != nil && r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/services/") {
			v.hold.Store(nil)
			close(*reached)
			<-t.Context().Done() // whoever is killed meanwhile has written nothing
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(server.CloseClientConnections)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
users: [{name: a, user: {}}]
current-context: a
`, server.URL)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// start starts a ccm that doesn't wait for a lease.
func (v *vendor) start(t *testing.T) *netns.Command {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cloud-sa.json")
	require.NoError(t, os.WriteFile(file, require.Value(json.Marshal(v.config))(t), 0o600))
	c := v.here.Command(append([]string{
		v.program, "--cloud-provider=equinixmetal", "--cloud-config=" + file, "--kubeconfig=" + v.kube, "--secure-port=0", "--leader-elect=false",
		"--node-monitor-period=500ms",
	}, v.args...)...)
	c.Env = v.env
	require.NoError(t, c.Start())
	v.logs = append(v.logs, c.Log())
	t.Cleanup(func() { _ = c.Kill() })
	return c
}

// cut cuts connections until down is set to false, and returns what counts them.
func (v *vendor) cut() (attempts func() int) {
	v.cuts.Store(0)
	v.down.Store(true)
	return func() int { return int(v.cuts.Load()) }
}

// secrets fails when a log has a token or a password, or something that the ccm may not do.
func (v *vendor) secrets(t *testing.T) {
	t.Helper()
	for _, path := range v.logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		for _, secret := range []string{token, "Secret0000", "U2VjcmV0MDAwMA", "orbidden"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s has %s", path, secret)
			}
		}
		if t.Failed() {
			t.Logf("%s:\n%s", path, text[max(0, len(text)-6000):])
		}
	}
}

// clean removes what a story made, so that the next one begins with nothing.
func (v *vendor) clean(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	services := v.Client.CoreV1().Services("default")
	all, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	var cleaning errgroup.Group
	cleaning.SetLimit(8)
	for _, svc := range all.Items {
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		cleaning.Go(func() error {
			_, err := services.Patch(ctx, svc.Name, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			if err == nil {
				err = services.Delete(ctx, svc.Name, metav1.DeleteOptions{})
			}
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if err := cleaning.Wait(); err != nil {
		t.Error(err)
	}
	if err := v.Client.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func loadBalancer(name string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(bool), Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
	for _, c := range change {
		c(svc)
	}
	return svc
}

// service creates a Service.
func (v *vendor) service(t *testing.T, name string, change ...func(*corev1.Service)) {
	t.Helper()
	require.Value(v.Client.CoreV1().Services("default").Create(t.Context(), loadBalancer(name, change...), metav1.CreateOptions{}))(t)
}

func annotated(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Annotations[key] = value }
}

// patience bounds each wait; the machine may be busy with other tests.
const patience = 60 * time.Second

// has waits until the Service has an address, and returns it.
func (v *vendor) has(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	svc, err := controlplane.Await(ctx, v.Client.CoreV1().Services("default"), name, func(s *corev1.Service) bool {
		return s.Annotations[annotations.LoadBalancerIPs] != "" && len(s.Finalizers) > 0
	})
	if err != nil {
		t.Fatalf("%s has no address: %v\n%s", name, err, v.events(t, name))
	}
	return svc.Annotations[annotations.LoadBalancerIPs]
}

// delete deletes a Service and doesn't wait.
func (v *vendor) delete(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, v.Client.CoreV1().Services("default").Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// gone waits until there is no such Service.
func (v *vendor) gone(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, controlplane.AwaitGone(ctx, v.Client.CoreV1().Services("default"), name))
}

// node creates a Node as a kubelet with an external cloud provider does, and its device. One that is changed isn't ready.
func (v *vendor) node(t *testing.T, n int, change ...func(*metalapi.Device, *corev1.Node)) (name, device string) {
	t.Helper()
	name = fmt.Sprintf("node-%d", n)
	d := metalapi.Device{
		Hostname: name, Public: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 7), byte(2*n + 1)}), 31),
		Private: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(n >> 7), byte(2*n + 1)}), 31),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: uninitialized, Value: "true", Effect: corev1.TaintEffectNoSchedule}}},
	}
	status := corev1.ConditionTrue
	for _, c := range change {
		c(&d, node)
		status = corev1.ConditionUnknown
	}
	device = v.api.AddDevice(d)
	require.Value(v.Client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}))(t)
	v.ready(t, name, status)
	return name, device
}

// ready says what the kubelet says of a Node's health.
func (v *vendor) ready(t *testing.T, name string, status corev1.ConditionStatus) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q}]}}`, status)
	require.Value(v.Client.CoreV1().Nodes().Patch(t.Context(), name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}, "status"))(t)
}

// initialized reports whether the framework let the Node in.
func initialized(n *corev1.Node) bool {
	return !slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == uninitialized })
}

const uninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

// becomes waits until a Node is as wanted, and returns it.
func (v *vendor) becomes(t *testing.T, name string, want func(*corev1.Node) bool) *corev1.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	node, err := controlplane.Await(ctx, v.Client.CoreV1().Nodes(), name, want)
	if err != nil {
		t.Fatalf("%s: %v\n%+v", name, err, node)
	}
	return node
}

// await waits until a condition holds, for what no watch shows.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("not after a minute: ", what)
		}
	}
}

// events returns the Events on an object, "Reason message" each.
func (b *bed) events(t *testing.T, name string) string {
	t.Helper()
	all, err := b.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	require.NoError(t, err)
	var out []string
	for _, e := range all.Items {
		out = append(out, e.Type+" "+e.Reason+" "+e.Message)
	}
	return strings.Join(out, "\n")
}

// owned returns the addresses that the account has, sorted.
func (v *vendor) owned() []string {
	var out []string
	for _, r := range v.api.Reservations() {
		out = append(out, r.Address)
	}
	slices.Sort(out)
	return out
}

// count returns how many calls there were whose pattern contains text.
func (v *vendor) count(text string) int {
	total := 0
	for pattern, n := range v.api.Calls() {
		if strings.Contains(pattern, text) {
			total += n
		}
	}
	return total
}
