package agent

import (
	"crypto/sha256"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

// Once returns a sink that makes one Event of what several agents tell alike of a Service, as each of them does where there is no election:
// which value is wrong, or has no effect. The name of such an Event follows from what it says, so the API server, which keeps Events for an
// hour or so, refuses the second, and its recorder drops it. What an agent tells of what it holds itself stays its own.
func Once(sink record.EventSink) record.EventSink { return once{sink} }

type once struct{ record.EventSink }

// Create is that of [record.EventSink].
func (o once) Create(e *corev1.Event) (*corev1.Event, error) {
	if e.InvolvedObject.Kind == "Service" && e.Reason != "Held" && e.Reason != "AddressTrouble" {
		e = e.DeepCopy() // it is the recorder's
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", e.InvolvedObject.UID, e.Type, e.Reason, e.Message))
		e.Name = fmt.Sprintf("%s.%x", e.InvolvedObject.Name, sum[:8])
	}
	return o.EventSink.Create(e)
}
