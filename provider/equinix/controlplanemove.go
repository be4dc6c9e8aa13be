package equinix

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// candidate is a device that has the control plane's address or could have it, and what its API server said last.
type candidate struct {
	device    string
	node      string    // "" for a device that is no control-plane Node's
	failures  int       // in a row
	successes int       // in a row
	since     time.Time // of the first of these successes
}

// note takes in an answer.
func (c *candidate) note(err error, at time.Time) {
	if err != nil {
		c.failures, c.successes = c.failures+1, 0
		return
	}
	if c.successes == 0 {
		c.since = at
	}
	c.failures, c.successes = 0, c.successes+1
}

// plan is how the address comes to where it should be: first every unassign, then an assignment to the first of the targets that takes it.
type plan struct {
	unassign []Assignment
	targets  []*candidate // best first
	stuck    bool         // it should move, and no API server is well
}

func (p plan) empty() bool { return len(p.unassign) == 0 && len(p.targets) == 0 }

// planMove decides. Who has the address keeps it until its API server failed that many times in a row; of several who have it, which can't be
// but by other hands, the one that has been well longest keeps it.
func planMove(holders []Assignment, all map[string]*candidate, failures, successes int) plan {
	var good []Assignment
	for _, h := range holders {
		if c := all[h.Device]; c == nil || c.failures < failures {
			good = append(good, h)
		}
	}
	if len(good) > 0 {
		slices.SortFunc(good, func(a, b Assignment) int {
			return cmp.Or(compareCandidates(all[a.Device], all[b.Device]), strings.Compare(a.ID, b.ID))
		})
		return plan{unassign: slices.DeleteFunc(slices.Clone(holders), func(a Assignment) bool { return a.ID == good[0].ID })}
	}
	var targets []*candidate
	for _, c := range all {
		if c.node != "" && c.successes >= successes {
			targets = append(targets, c)
		}
	}
	if len(targets) == 0 {
		return plan{stuck: true}
	}
	slices.SortFunc(targets, compareCandidates)
	return plan{unassign: holders, targets: targets}
}

// compareCandidates puts who has been well longest first, and who is not well, or not known, last.
func compareCandidates(a, b *candidate) int {
	well := func(c *candidate) int {
		if c != nil && c.successes > 0 {
			return 0
		}
		return 1
	}
	if d := well(a) - well(b); d != 0 || well(a) == 1 {
		return d
	}
	return cmp.Or(a.since.Compare(b.since), strings.Compare(a.node, b.node))
}

// What can be wrong beside the API's own errors.
var (
	errStranger         = errors.New("not a control-plane Node's device")
	errNoneWell         = errors.New("no control-plane node's API server is well")
	errNoReservation    = errors.New("no reservation of the project has the control plane's tag")
	errManyReservations = errors.New("several reservations of the project have the control plane's tag")
)

// reasonOf returns the reason of the Event for err.
func reasonOf(err error) string {
	for reason, kind := range map[string]error{
		"NoHealthyControlPlane": errNoneWell, "ControlPlaneAddressMissing": errNoReservation, "ControlPlaneAddressAmbiguous": errManyReservations,
		"APITokenRefused": ErrUnauthorized, "APIUnavailable": ErrUnavailable,
	} {
		if errors.Is(err, kind) {
			return reason
		}
	}
	return "ControlPlaneAddressNotMoved"
}

// tell tells of a problem once: on the Node that has the address, if there is one, and in the log.
func (c *ControlPlane) tell(reason string, err error) {
	if c.told == err.Error() {
		return
	}
	c.told = err.Error()
	c.cfg.Log.Error("the control plane's address", "addr", c.address, "reason", reason, "err", err)
	for _, h := range c.holders {
		if have := c.all[h.Device]; have != nil && have.node != "" {
			c.cfg.Events.Event(nodeObject(have.node), corev1.EventTypeWarning, reason, err.Error())
		}
	}
}

// moved tells that the address came to a node.
func (c *ControlPlane) moved(from []Assignment, to *candidate) {
	c.cfg.Metrics.moved()
	var names []string
	for _, a := range from {
		name := a.Device
		if have := c.all[a.Device]; have != nil && have.node != "" {
			name = have.node
			c.cfg.Events.Eventf(nodeObject(name), corev1.EventTypeWarning, "ControlPlaneAddressLost",
				"the API server failed %d times in a row; the control plane's address %s moved to %s", have.failures, c.address, to.node)
		}
		names = append(names, name)
	}
	c.cfg.Log.Info("moved the control plane's address", "addr", c.address, "node", to.node, "from", strings.Join(names, " "))
	c.cfg.Events.Eventf(nodeObject(to.node), corev1.EventTypeNormal, "ControlPlaneAddressAssigned", "the control plane's address %s is assigned to this node", c.address)
}

// nodeObject names a Node as the kubelet's Events do, which `kubectl describe node` shows.
func nodeObject(name string) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: types.UID(name)}
}

// serverOf returns the device of a Node and the address of its API server: the Node's first internal one that isn't the shared one.
func serverOf(node *corev1.Node, shared netip.Addr) (device string, addr netip.Addr, ok bool) {
	device, err := DeviceID(node.Spec.ProviderID)
	if err != nil {
		return "", netip.Addr{}, false
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); a.Type == kind && err == nil && addr != shared {
				return device, addr, true
			}
		}
	}
	return "", netip.Addr{}, false
}
