package agent_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"daymark/annotations"
	"daymark/internal/agent"
)

// TestAnnotationsWithoutEffect: who comes from kube-vip is told what of a Service's annotations this version doesn't do.
func TestAnnotationsWithoutEffect(t *testing.T) {
	const (
		held = "Normal Held Held by n1 with ARP"
		none = "Warning NotSupported no effect in this version: "
	)
	old := func(s *corev1.Service) {
		s.Annotations[annotations.ForwardUPnP] = "true"
		s.Annotations[annotations.DDNS] = "yes\nplease"
		s.Annotations[annotations.Egress] = "false"
		s.Annotations[annotations.MACVLANName] = ""
	}
	const both = none + annotations.DDNS + ", " + annotations.ForwardUPnP

	story(t, "they are told once, by one node and without their values, and the Service is held", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10", old), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.expectTold(held)
		w.elector.grant(t, "192.0.2.10", "reports")
		w.expectTold(both)

		w.put(service("web", "192.0.2.10", old, func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 }), slice("web", 0, "n1", "n2"))
		w.expectSaid("web", "192.0.2.10:81 by n1")
		w.elector.grant(t, "192.0.2.10")
		w.elector.grant(t, "192.0.2.10", "reports")
		w.put(service("web", "192.0.2.10"))
		w.put(service("web", "192.0.2.10", old))
		w.expectTold()
		w.expect()

		w.put(service("web", "192.0.2.10", old, annotated(annotations.Egress, "true")))
		w.expectTold(none + annotations.DDNS + ", " + annotations.Egress + ", " + annotations.ForwardUPnP)
	})

	story(t, "they are told of a Service that another node holds, and make nothing else be told early", func(t *testing.T) {
		w := newWorld(t, nil)
		w.elector.grant(t, "reports")
		w.put(service("web", "192.0.2.10", old))
		w.put(service("web", "192.0.2.10", old), slice("web", 0, "n2")) // a second later
		w.expectTold(both)
		time.Sleep(time.Minute)
		w.expectTold()
		w.expectClaims("192.0.2.10 reports")
	})

	story(t, "who becomes the one that tells does so, although another node holds the Service", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10", old), slice("web", 0, "n2"))
		w.expectTold()
		w.elector.grant(t, "reports")
		w.expectTold(both)
	})

	story(t, "they are told beside what is wrong", func(t *testing.T) {
		w := newWorld(t, nil)
		w.elector.grant(t, "192.0.2.10", "reports")
		w.put(service("web", "192.0.2.2", old), slice("web", 0, "n1"))
		w.expectTold("Warning AddressRefused 192.0.2.2: an address of node n1", both)
		w.put(service("web", "192.0.2.10", old))
		w.expectTold(held)
	})

	story(t, "of a Service that is not ours nothing is told", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Policy.ClassOnly = true })
		w.elector.grant(t, "reports")
		w.put(service("web", "192.0.2.10", old), slice("web", 0, "n1"))
		w.put(service("db", "192.0.2.11", old, class(annotations.DefaultClass), annotated(annotations.Ignore, "true")), slice("db", 0, "n1"))
		w.expectTold()
	})
}
