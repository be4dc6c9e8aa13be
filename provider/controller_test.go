package provider_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	"daymark/ipam"
	"daymark/provider"
)

// source is an allocator with one pool that records what it is told.
type source struct {
	*ipam.Allocator
	mu    sync.Mutex
	calls []string
}

func newSource(t *testing.T, pool string) *source {
	t.Helper()
	config, problems := ipam.Parse(map[string]string{"cidr-global": pool})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s := &source{Allocator: ipam.New()}
	s.SetConfig(config)
	return s
}

func (s *source) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

func (s *source) first() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[0]
}

func (s *source) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (s *source) Replay(_ context.Context, all []ipam.Existing) ([]ipam.Conflict, error) {
	s.note("replay")
	return s.Allocator.Replay(all), nil
}
func (s *source) Run(ctx context.Context, _ func(...string)) error { <-ctx.Done(); return nil }
func (s *source) Ensure(_ context.Context, r ipam.Request, _ *corev1.Service) (ipam.Grant, error) {
	s.note("ensure " + r.Owner)
	return s.Allocator.Ensure(r)
}
func (s *source) Commit(owner string) []string {
	s.note("commit " + owner)
	return s.Allocator.Commit(owner)
}
func (s *source) Rollback(owner string) []string {
	s.note("rollback " + owner)
	return s.Allocator.Rollback(owner)
}
func (s *source) Release(_ context.Context, owner string) ([]string, error) {
	s.note("release " + owner)
	return s.Allocator.Release(owner), nil
}
func (s *source) Link(string) string { return "" }

// bench is a controller on a fake API server.
type bench struct {
	*source
	client *fake.Clientset
	events *record.FakeRecorder
}

// play starts a controller over objects, with what change does to its client and options beforehand.
func play(t *testing.T, pool string, change func(*fake.Clientset, *provider.Options), objects ...runtime.Object) *bench {
	t.Helper()
	b := &bench{source: newSource(t, pool), client: fake.NewClientset(objects...), events: record.NewFakeRecorder(1000)}
	managers := []string{provider.FieldManager}
	factory := informers.NewSharedInformerFactoryWithOptions(b.client, 0, informers.WithTransform(provider.Trim(managers)))
	o := provider.Options{
		Client: b.client, Services: factory.Core().V1().Services().Informer(), Source: b.source, Unclassed: true, Managers: managers, Workers: 4,
		Events: b.events, Metrics: provider.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(b.client, &o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	factory.Start(ctx.Done())
	go func() { ended <- provider.New(o).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return b
}

// until waits for what must come, for long enough for any machine.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
	}
}

func (b *bench) service(t *testing.T, owner string) *corev1.Service {
	t.Helper()
	namespace, name, _ := strings.Cut(owner, "/")
	svc, err := b.client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func (b *bench) untilAddress(t *testing.T, owner, text string) {
	t.Helper()
	until(t, owner+" has "+text, func() bool { return b.service(t, owner).Annotations[annotations.LoadBalancerIPs] == text })
}

func loadBalancer(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "uid-" + "x"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// written returns svc with an address that the CCM wrote.
func written(svc *corev1.Service, address string) *corev1.Service {
	svc.Annotations = map[string]string{annotations.LoadBalancerIPs: address}
	svc.Labels = map[string]string{"implementation": "kube-vip"}
	svc.Spec.LoadBalancerIP = address
	svc.ManagedFields = []metav1.ManagedFieldsEntry{managed(provider.FieldManager, metav1.ManagedFieldsOperationUpdate,
		`{"f:metadata":{"f:annotations":{"f:kube-vip.io/loadbalancerIPs":{}},"f:labels":{"f:implementation":{}}},"f:spec":{"f:loadBalancerIP":{}}}`)}
	return svc
}

func managed(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: operation, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func TestAddressesInUseAreKnownBeforeTheFirstIsGiven(t *testing.T) {
	foreign := loadBalancer("foreign")
	class := "example.org/other"
	foreign.Spec.LoadBalancerClass = &class
	foreign.Annotations = map[string]string{annotations.LoadBalancerIPs: "192.0.2.1"}
	shown := loadBalancer("shown")
	shown.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}}
	spec := loadBalancer("spec")
	spec.Spec.LoadBalancerClass, spec.Spec.LoadBalancerIP = &class, "192.0.2.3"
	b := play(t, "192.0.2.0/29", nil, foreign, shown, spec, written(loadBalancer("ours"), "192.0.2.4"), loadBalancer("new"))
	b.untilAddress(t, "default/new", "192.0.2.5")
	if first := b.first(); first != "replay" {
		t.Errorf("first call: %s", first)
	}
}

func TestAnUncertainWriteKeepsItsAddress(t *testing.T) {
	for name, test := range map[string]struct {
		err      error
		rollback bool
	}{
		"time-out":     {context.DeadlineExceeded, false},
		"server error": {apierrors.NewInternalError(errors.New("etcd is slow")), false},
		"conflict":     {apierrors.NewConflict(corev1.Resource("services"), "web", errors.New("changed")), true},
		"throttled":    {apierrors.NewTooManyRequests("later", 1), true},
		"fenced":       {provider.ErrFenced, true},
	} {
		t.Run(name, func(t *testing.T) {
			var once sync.Once
			b := play(t, "192.0.2.1/32", func(client *fake.Clientset, _ *provider.Options) {
				client.PrependReactor("patch", "services", func(clienttesting.Action) (handled bool, _ runtime.Object, err error) {
					once.Do(func() { handled, err = true, test.err })
					return handled, nil, err
				})
			}, loadBalancer("web"))
			b.untilAddress(t, "default/web", "192.0.2.1")
			if got := b.count("rollback default/web"); got > 1 || (got == 1) != test.rollback {
				t.Errorf("%d rollbacks, want one: %v", got, test.rollback)
			}
		})
	}
}

func TestAFailedWriteGivesBack(t *testing.T) {
	// A user asks for what can't be had, just before the address from the pool is written: the write fails, and the request is refused.
	b := play(t, "192.0.2.1/32", func(client *fake.Clientset, _ *provider.Options) {
		client.PrependReactor("patch", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if action.(clienttesting.PatchAction).GetName() != "web" {
				return false, nil, nil
			}
			changed := loadBalancer("web")
			changed.Annotations = map[string]string{annotations.LoadBalancerIPs: "198.51.100.1"}
			if err := client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), changed, "default"); err != nil {
				t.Error(err)
			}
			return true, nil, apierrors.NewConflict(corev1.Resource("services"), "web", errors.New("changed"))
		})
	}, loadBalancer("web"))
	until(t, "the write failed", func() bool { return b.service(t, "default/web").Annotations != nil })
	if _, err := b.client.CoreV1().Services("default").Create(t.Context(), loadBalancer("next"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.untilAddress(t, "default/next", "192.0.2.1")
}

func TestAnUncertainWriteStaysUncertain(t *testing.T) {
	// The first write happens but its answer is lost; the next fails for certain, because the Service is not as it was.
	n := 0
	b := play(t, "192.0.2.0/30", func(client *fake.Clientset, _ *provider.Options) {
		client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			if n++; n == 1 {
				return true, nil, context.DeadlineExceeded
			}
			return n < 4, nil, apierrors.NewGenericServerResponse(422, "patch", corev1.Resource("services"), "web", "test failed", 0, false)
		})
	}, loadBalancer("web"))
	b.untilAddress(t, "default/web", "192.0.2.1")
	if b.count("rollback default/web") != 0 {
		t.Error("the address was free while it may have been written")
	}
}

func TestADoubleAddressIsHealed(t *testing.T) {
	first, second, asked := written(loadBalancer("a"), "192.0.2.1"), written(loadBalancer("b"), "192.0.2.1"), loadBalancer("c")
	first.CreationTimestamp = metav1.NewTime(time.Unix(1000, 0))
	second.CreationTimestamp = metav1.NewTime(time.Unix(2000, 0))
	asked.CreationTimestamp = metav1.NewTime(time.Unix(3000, 0))
	asked.Annotations = map[string]string{annotations.LoadBalancerIPs: "192.0.2.1"}
	asked.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	b := play(t, "192.0.2.0/29", nil, first, second, asked)
	// What a user asked for, and has, stays; the other two move.
	address := func(name string) string {
		return b.service(t, "default/"+name).Annotations[annotations.LoadBalancerIPs]
	}
	until(t, "each has its own", func() bool {
		return address("a") != address("b") && address("a") != "192.0.2.1" && address("b") != "192.0.2.1"
	})
	if got := address("c"); got != "192.0.2.1" {
		t.Errorf("what was asked for became %s", got)
	}
}

func TestReplacesWhereItMayNotPatch(t *testing.T) {
	var patches int
	b := play(t, "192.0.2.0/29", func(client *fake.Clientset, o *provider.Options) {
		o.Workers = 1
		client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			patches++
			return true, nil, apierrors.NewForbidden(corev1.Resource("services"), "web", errors.New("no"))
		})
	}, loadBalancer("a"), loadBalancer("b"), loadBalancer("c"))
	for _, name := range []string{"default/a", "default/b", "default/c"} {
		until(t, name+" has an address", func() bool { return b.service(t, name).Spec.LoadBalancerIP != "" })
	}
	if patches != 1 {
		t.Errorf("%d patches were tried", patches)
	}
}

func TestOneBrokenServiceHurtsNobody(t *testing.T) {
	broken := loadBalancer("broken")
	broken.Annotations = map[string]string{annotations.LoadBalancerIPs: "192.0.2.1,,300.1.1.1"}
	b := play(t, "192.0.2.0/29", nil, broken, loadBalancer("web"))
	b.untilAddress(t, "default/web", "192.0.2.1")
	select {
	case event := <-b.events.Events:
		for !strings.Contains(event, "AddressRefused") {
			event = <-b.events.Events
		}
		if !strings.Contains(event, `300.1.1.1`) {
			t.Errorf("the Event does not name the value: %s", event)
		}
	case <-time.After(20 * time.Second):
		t.Error("no Event")
	}
	if svc := b.service(t, "default/broken"); svc.Labels != nil || svc.Spec.LoadBalancerIP != "" {
		t.Errorf("written: %+v", svc)
	}
}

func TestTheSourceIsToldOfEveryEnd(t *testing.T) {
	b := play(t, "192.0.2.1/32", nil, loadBalancer("web"))
	b.untilAddress(t, "default/web", "192.0.2.1")
	if err := b.client.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is released", func() bool { return b.count("release default/web") > 0 })
	if holds := b.Holds("default/web"); !slices.Equal(holds, nil) {
		t.Errorf("it still has %v", holds)
	}
}

func TestAnotherClassGivesBackWhatIsRemoved(t *testing.T) {
	left, class := written(loadBalancer("left"), "192.0.2.1"), "example.org/other"
	left.Spec.LoadBalancerClass = &class
	b := play(t, "192.0.2.1/32", nil, left, loadBalancer("waits"))
	b.untilAddress(t, "default/waits", "192.0.2.1")
	if svc := b.service(t, "default/left"); len(svc.Annotations) > 0 || len(svc.Labels) > 0 || svc.Spec.LoadBalancerIP != "" {
		t.Errorf("the address went on before it was removed: %+v", svc)
	}
	for len(b.events.Events) > 0 {
		if event := <-b.events.Events; strings.Contains(event, "AddressConflict") {
			t.Error(event)
		}
	}
}
