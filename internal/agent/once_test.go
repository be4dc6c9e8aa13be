package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"daymark/internal/agent"
)

// TestOnce: each of two agents tells the same of a Service, and who reads it finds it once; what they tell of themselves is there twice.
func TestOnce(t *testing.T) {
	story(t, "two agents, the second told the same and then something else", func(t *testing.T) {
		client := fake.NewClientset()
		agents := map[string]record.EventRecorder{}
		for _, node := range []string{"n1", "n2"} {
			b := record.NewBroadcaster()
			b.StartRecordingToSink(agent.Once(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")}))
			t.Cleanup(b.Shutdown)
			agents[node] = b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "vip", Host: node})
		}
		tell := func(node, uid, reason, text string) {
			on := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "web", UID: types.UID(uid)}
			agents[node].Event(on, corev1.EventTypeWarning, reason, text)
			time.Sleep(time.Second) // the names of other Events tell the time
			synctest.Wait()
		}
		expect := func(want ...string) {
			t.Helper()
			list, err := client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
			must(t, err)
			var got []string
			for _, e := range list.Items {
				got = append(got, fmt.Sprintf("%s on %s by %s, %d times", e.Message, e.InvolvedObject.UID, e.Source.Host, e.Count))
			}
			slices.Sort(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		}
		for _, node := range []string{"n1", "n2"} {
			tell(node, "1", "NotSupported", "bad")
			tell(node, "1", "AddressTrouble", "trouble")
		}
		expect("bad on 1 by n1, 1 times", "trouble on 1 by n1, 1 times", "trouble on 1 by n2, 1 times")
		tell("n2", "1", "NotSupported", "bad") // again, and it is there
		expect("bad on 1 by n1, 1 times", "trouble on 1 by n1, 1 times", "trouble on 1 by n2, 1 times")
		tell("n1", "1", "NotSupported", "bad")
		expect("bad on 1 by n1, 2 times", "trouble on 1 by n1, 1 times", "trouble on 1 by n2, 1 times")
		tell("n2", "1", "NotSupported", "worse")
		tell("n2", "1", "BadAddress", "bad")
		tell("n2", "2", "NotSupported", "bad") // on another Service of the same name
		expect("bad on 1 by n1, 2 times", "bad on 1 by n2, 1 times", "bad on 2 by n2, 1 times", "trouble on 1 by n1, 1 times",
			"trouble on 1 by n2, 1 times", "worse on 1 by n2, 1 times")
	})
}
