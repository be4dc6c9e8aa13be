package election

import (
	"reflect"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SetOwner says which object the member's Lease goes with, such as its node's Node, as the kubelet's own Lease does: the garbage
// collector deletes it with that. Until it is called the Lease keeps the owner that it has. It causes no write, and delays none; it may
// be called at any time, and again when the object was made anew. It returns at once.
func (m *Members) SetOwner(owner metav1.OwnerReference) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owner = &owner
}

// ownership decides whether the own Lease names its owner. A member may live on when its Node is gone, and know late that it was made
// anew: then the collector deletes the Lease under it. That costs one write, since who finds its Lease deleted makes it again; but it must
// not go on for ever.
type ownership struct {
	deleted types.UID // the owner of the own Lease when that was deleted: it is named again only by who leaves
	refused bool      // the last write that was forbidden named a new owner: the next one doesn't
	changes bool      // the write that was sent last does
}

// name makes lease, which is about to be written, name owner, where that is known and may be named.
func (o *ownership) name(lease *coordinationv1.Lease, owner *metav1.OwnerReference, leaves bool) {
	o.changes = false
	if owner == nil || o.refused || owner.UID == o.deleted && !leaves {
		return
	}
	owners := []metav1.OwnerReference{*owner}
	o.changes = !reflect.DeepEqual(lease.OwnerReferences, owners)
	lease.OwnerReferences = owners
}

// gone takes in that the own Lease was deleted; was is how it was seen last.
func (o *ownership) gone(was *coordinationv1.Lease) {
	if was != nil && len(was.OwnerReferences) > 0 {
		o.deleted = was.OwnerReferences[0].UID
	}
}

// refuse takes in why the write that was sent last was refused. Who may update a Lease may not always change its owner: admission by
// OwnerReferencesPermissionEnforcement asks for the right to delete it, too.
func (o *ownership) refuse(err error) {
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		o.refused = o.changes
	}
}
