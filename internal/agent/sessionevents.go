package agent

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"

	"daymark/internal/bgp"
)

// SessionEvents returns a function that tells on the Node of BGP sessions that come up, go down or don't come up; see [bgp.Options].
func SessionEvents(events record.EventRecorder, node string) func(bgp.SessionEvent) {
	on := nodeReference(node)
	return func(e bgp.SessionEvent) {
		if e.Up {
			events.Eventf(on, corev1.EventTypeNormal, "BGPSessionUp", "BGP session with %s is up", e.Peer)
			return
		}
		events.Eventf(on, corev1.EventTypeWarning, "BGPSessionDown", "BGP session with %s is down: %s", e.Peer, cmp.Or(e.Reason, "no reason known"))
	}
}
