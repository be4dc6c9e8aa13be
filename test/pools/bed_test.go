package pools_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

func TestMain(m *testing.M) { os.Exit(netns.RunTests(m)) }

// bed is an API server, and the ccm as a program.
type bed struct {
	*controlplane.Single
	here    *netns.Host
	program string
	client  kubernetes.Interface
}

func newBed(t testing.TB) *bed {
	t.Helper()
	set := controlplane.Programs(t)
	lab := netns.Test(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	b := &bed{Single: require.Value(controlplane.NewSingle(ctx, lab, set))(t), here: require.Value(lab.Here())(t)}
	b.client = b.Client
	b.program = filepath.Join(t.TempDir(), "ccm")
	build := exec.Command("go", "build", "-o", b.program, "daymark/cmd/ccm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the ccm: %v\n%s", err, out)
	}
	return b
}

// start starts a ccm with short lease times.
func (b *bed) start(t testing.TB, kubeconfig string, args ...string) *netns.Command {
	t.Helper()
	c := b.here.Command(append([]string{
		b.program, "--kubeconfig=" + kubeconfig, "--secure-port=0",
		"--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms",
	}, args...)...)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Kill() })
	return c
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
				for err = retry(ctx, b, namespace, fmt.Sprintf("%s-%d", prefix, i), change); err != nil; {
					break
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

func retry(ctx context.Context, b *bed, namespace, name string, change []func(*corev1.Service)) error {
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
