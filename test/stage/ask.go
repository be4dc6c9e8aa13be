package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"daymark/test/controlplane"
	"daymark/test/netns"
)

// settle is how long the client goes on asking after it was answered again, so that an outage in two parts is seen whole.
const settle = 2 * time.Second

// Outage asks every 10 ms while a fault happens, until an answer that moved accepts and a while longer.
func Outage(ctx context.Context, probe netns.Probe, fault func() error, moved func(netns.Reached) bool) (netns.Outage, error) {
	prober := netns.StartProber(probe)
	defer prober.Stop()
	if _, err := prober.Wait(ctx, time.Now(), nil); err != nil {
		return netns.Outage{}, err
	}
	began := time.Now()
	if err := fault(); err != nil {
		return netns.Outage{}, err
	}
	again, err := prober.Wait(ctx, began, moved)
	if err != nil {
		return netns.Outage{}, err
	}
	end := again.At.Add(settle)
	if _, err := prober.Wait(ctx, end, nil); err != nil {
		return netns.Outage{}, err
	}
	return prober.Report(began, end), nil
}

// Page asks until a page comes from port 80 of an address, and says which pod it is from and how long after the moment it came.
func Page(ctx context.Context, from *netns.Host, addr netip.Addr, since time.Time) (pod string, after time.Duration, err error) {
	prober := netns.StartProber(netns.Probe{From: from, Network: "http", To: netip.AddrPortFrom(addr, 80)})
	defer prober.Stop()
	got, err := prober.Wait(ctx, since, nil)
	return got.By, got.At.Sub(since), err
}

// CreateService makes a pod on each of the nodes, the Service, of which change may say more, and its EndpointSlices.
func CreateService(ctx context.Context, kube kubernetes.Interface, namespace, name string, nodes []*controlplane.Node, change func(*corev1.Service)) error {
	var pods []*controlplane.Pod
	for i, node := range nodes {
		pod, err := node.AddPod(fmt.Sprintf("%s-%d", name, i+1))
		if err != nil {
			return err
		}
		pods = append(pods, pod)
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	if change != nil {
		change(service)
	}
	made, err := kube.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return controlplane.SetEndpoints(ctx, kube, made, controlplane.Ready(pods...)...)
}

// Get returns what an API server answers to a GET of a path.
func Get(ctx context.Context, cfg *rest.Config, path string) (string, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// Seconds is a duration for the table.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// Millis is a short duration for the table.
func Millis(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
