package agent_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"daymark/internal/agent"
)

// published is ConfigMap cluster-info as kubeadm writes it, with more clusters than it knows.
const published = `apiVersion: v1
kind: Config
clusters:
- {name: "", cluster: {server: "https://192.0.2.100:6443"}}
- {name: six, cluster: {server: "https://[2001:db8::1]:6443"}}
- {name: name, cluster: {server: "https://api.example.com:6443"}}
`

// TestControlPlaneAddressIsRefusedWhileNobodyHasIt: an agent that serves Services alone knows it from what kubeadm publishes.
func TestControlPlaneAddressIsRefusedWhileNobodyHasIt(t *testing.T) {
	// publish adds the ConfigMap. It fails to be read as long as fails says so, each time of which counts.
	publish := func(t *testing.T, c *agent.ServicesConfig, text string, fails func() error) {
		t.Helper()
		client, _ := c.Client.(*fake.Clientset)
		must(t, client.Tracker().Add(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"}, Data: map[string]string{"kubeconfig": text},
		}))
		client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			err := fails()
			return err != nil, nil, err
		})
	}

	story(t, "of each family, and names say nothing", func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(c *agent.ServicesConfig) {
			publish(t, c, published, func() error { asked++; return nil })
		})
		w.put(service("thief", "192.0.2.100,2001:db8::1"), slice("thief", 0, "n1"))
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "reports")
		w.expectClaims("192.0.2.10 reports")
		w.expectTold("Warning AddressRefused 192.0.2.100: the control plane's address; 2001:db8::1: the control plane's address")
		time.Sleep(time.Hour)
		w.settle()
		if asked != 1 {
			t.Errorf("it was read %d times", asked)
		}
	})

	story(t, "where it can't be read for a while Services are served, and what is found to be the control plane's is let go of", func(t *testing.T) {
		var asked atomic.Int32
		var readable atomic.Bool
		w := newWorld(t, func(c *agent.ServicesConfig) {
			publish(t, c, published, func() error {
				asked.Add(1)
				if readable.Load() {
					return nil
				}
				return apierrors.NewInternalError(errors.New("no key to decrypt it with"))
			})
		})
		w.put(service("thief", "192.0.2.100"), slice("thief", 0, "n1"))
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		time.Sleep(10 * time.Second)
		w.expectClaims("192.0.2.10 192.0.2.100 reports")
		w.elector.grant(t, "192.0.2.10", "192.0.2.100")
		w.settle()
		w.journal.take()
		w.told()
		readable.Store(true)
		time.Sleep(time.Minute)
		w.expectClaims("192.0.2.10 reports")
		w.expect("wire -192.0.2.100", "kernel -192.0.2.100")
		w.expectTold("Warning AddressRefused 192.0.2.100: the control plane's address")
		if n := asked.Load(); n > 7 { // at 0, 1, 3, 7, 15, 31 and 61 s
			t.Errorf("it was asked for %d times", n)
		}
	})

	story(t, "where nobody may read it, or it is not kubeadm's, nothing is waited for", func(t *testing.T) {
		for text, err := range map[string]error{published: apierrors.NewForbidden(corev1.Resource("configmaps"), "cluster-info", nil), "{": nil} {
			asked := 0
			w := newWorld(t, func(c *agent.ServicesConfig) {
				publish(t, c, text, func() error { asked++; return err })
			})
			w.put(service("web", "192.0.2.100"), slice("web", 0, "n1"))
			w.expectClaims("192.0.2.100 reports")
			time.Sleep(time.Hour)
			if asked != 1 {
				t.Errorf("it was asked for %d times", asked)
			}
			w.end()
		}
	})
}
