package pools_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

func TestMain(m *testing.M) {
	code := netns.RunTests(m)
	program.remove()
	os.Exit(code)
}

// program is the ccm, built once for all tests here: linking it takes longer than most of them.
var program built

type built struct {
	once sync.Once
	dir  string
	err  error
}

func (b *built) path(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "daymark-pools-"); b.err != nil {
			return
		}
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", b.dir+"/ccm", "daymark/cmd/ccm")
		if out, err := build.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("building the ccm: %w\n%s", err, out)
		}
	})
	require.NoError(t, b.err)
	return filepath.Join(b.dir, "ccm")
}

func (b *built) remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// bed is an API server, and the ccm as a program.
type bed struct {
	*controlplane.Single
	here    *netns.Host
	program string
	client  kubernetes.Interface
	scraper string // token of one that may read the metrics
}

func newBed(t testing.TB) *bed {
	t.Helper()
	set := controlplane.Programs(t)
	lab := netns.Test(t)
	ccm := program.path(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	b := &bed{program: ccm, Single: require.Value(controlplane.NewSingle(ctx, lab, set))(t), here: require.Value(lab.Here())(t)}
	b.client = b.Client
	return b
}

// command is a ccm with short lease times.
func (b *bed) command(kubeconfig string, args ...string) []string {
	return append([]string{
		b.program, "--kubeconfig=" + kubeconfig, "--secure-port=0",
		"--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms",
	}, args...)
}

// start starts a ccm with short lease times.
func (b *bed) start(t testing.TB, kubeconfig string, args ...string) *netns.Command {
	t.Helper()
	c := b.here.Command(b.command(kubeconfig, args...)...)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Kill() })
	return c
}

// alone starts a ccm whose lease lasts however busy the machine is, for stories in which nobody else wants it.
func (b *bed) alone(t testing.TB, kubeconfig string, args ...string) {
	t.Helper()
	b.start(t, kubeconfig, append([]string{"--leader-elect-lease-duration=60s", "--leader-elect-renew-deadline=50s"}, args...)...)
}

// pools writes the ConfigMap.
func (b *bed) pools(t testing.TB, data map[string]string) {
	t.Helper()
	maps := b.client.CoreV1().ConfigMaps("kube-system")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kubevip"}, Data: data}
	_, err := maps.Create(t.Context(), cm, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(t.Context(), cm, metav1.UpdateOptions{})
	}
	require.NoError(t, err)
}

// edit changes keys of the ConfigMap; an empty value removes one.
func (b *bed) edit(t testing.TB, change map[string]string) {
	t.Helper()
	cm := require.Value(b.client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "kubevip", metav1.GetOptions{}))(t)
	for key, value := range change {
		if cm.Data[key] = value; value == "" {
			delete(cm.Data, key)
		}
	}
	b.pools(t, cm.Data)
}

// give creates a Service.
func (b *bed) give(t testing.TB, namespace, name string, change ...func(*corev1.Service)) {
	t.Helper()
	require.Value(b.client.CoreV1().Services(namespace).Create(t.Context(), service(name, change...), metav1.CreateOptions{}))(t)
}

// drop deletes a Service.
func (b *bed) drop(t testing.TB, namespace, name string) {
	t.Helper()
	require.NoError(t, b.client.CoreV1().Services(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// change edits a Service, again when somebody else was faster.
func (b *bed) change(t testing.TB, namespace, name string, change func(*corev1.Service)) {
	t.Helper()
	services := b.client.CoreV1().Services(namespace)
	require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		svc, err := services.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(svc)
		_, err = services.Update(t.Context(), svc, metav1.UpdateOptions{})
		return err
	}))
}

// namespace makes a namespace of the test's own.
func (b *bed) namespace(t testing.TB, name string) {
	t.Helper()
	_, err := b.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func service(name string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type:                          corev1.ServiceTypeLoadBalancer,
			AllocateLoadBalancerNodePorts: new(bool),
			Ports:                         []corev1.ServicePort{{Port: 80}},
		},
	}
	for _, c := range change {
		c(svc)
	}
	return svc
}

func annotate(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value) }
}

// create makes n Services, several at a time, named from prefix.
func (b *bed) create(ctx context.Context, namespace, prefix string, n int, change ...func(*corev1.Service)) error {
	errs := make(chan error)
	jobs := make(chan int)
	const workers = 16
	for range workers {
		go func() {
			var err error
			for i := range jobs {
				if e := b.createOne(ctx, namespace, fmt.Sprintf("%s-%d", prefix, i), change); e != nil {
					err = e
				}
			}
			errs <- err
		}()
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	var first error
	for range workers {
		if err := <-errs; err != nil {
			first = err
		}
	}
	return first
}

func (b *bed) createOne(ctx context.Context, namespace, name string, change []func(*corev1.Service)) error {
	_, err := b.client.CoreV1().Services(namespace).Create(ctx, service(name, change...), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// addresses reads the annotation.
func addresses(svc *corev1.Service) []netip.Addr {
	requests, _ := annotations.ParseRequests(svc.Annotations[annotations.LoadBalancerIPs])
	var out []netip.Addr
	for _, r := range requests {
		out = append(out, r.Addr)
	}
	return out
}

// list returns the Services of a namespace.
func (b *bed) list(t testing.TB, namespace string) []corev1.Service {
	t.Helper()
	all, err := b.client.CoreV1().Services(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	return all.Items
}

// awaitServed waits until every load balancer of the namespace has an address, and returns how many have.
func (b *bed) awaitServed(t testing.TB, namespace string, want int, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		last, all := 0, b.list(t, namespace)
		for _, svc := range all {
			if len(addresses(&svc)) > 0 {
				last++
			}
		}
		if last == want && len(all) == want {
			return
		}
		again := time.NewTimer(50 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%d of %d Services have an address after %s", last, want, within)
		}
	}
}

// noDuplicates fails when two load balancers have one address, in annotation or spec.
func (b *bed) noDuplicates(t testing.TB) {
	t.Helper()
	owner := map[netip.Addr]string{}
	for _, svc := range b.list(t, "") {
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		have := map[netip.Addr]bool{}
		for _, addr := range addresses(&svc) {
			have[addr] = true
		}
		if addr, err := netip.ParseAddr(svc.Spec.LoadBalancerIP); err == nil {
			have[addr] = true
		}
		for addr := range have {
			if other, taken := owner[addr]; taken {
				t.Errorf("%s has %s and %s", addr, other, svc.Namespace+"/"+svc.Name)
			}
			owner[addr] = svc.Namespace + "/" + svc.Name
		}
	}
}

// events returns the texts of the Events on an object, "Reason message" each.
func (b *bed) events(t testing.TB, namespace, kind, name string) string {
	t.Helper()
	all, err := b.client.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name,
	})
	require.NoError(t, err)
	var texts []string
	for _, e := range all.Items {
		texts = append(texts, e.Reason+" "+e.Message)
	}
	return strings.Join(texts, "\n")
}

// awaitEvent waits until an Event on the object contains text.
func (b *bed) awaitEvent(t testing.TB, namespace, kind, name, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		all := b.events(t, namespace, kind, name)
		if strings.Contains(all, text) {
			return
		}
		again := time.NewTimer(50 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("no Event %q on %s %s/%s, but:\n%s", text, kind, namespace, name, all)
		}
	}
}

// await waits until the Service is as wanted.
func (b *bed) await(t testing.TB, namespace, name string, want func(*corev1.Service) bool) *corev1.Service {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	svc, err := controlplane.Await(ctx, b.client.CoreV1().Services(namespace), name, want)
	if err != nil {
		now, _ := b.client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
		t.Fatalf("%v\n%+v", err, now)
	}
	return svc
}
