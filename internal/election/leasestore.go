package election

import (
	"context"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// incarnationAnnotation names the process that holds a lease; see [Lease].
const incarnationAnnotation = "kube-vip.io/incarnation"

// foreignAnnotation is the holder's identity where a stranger has what the lease is for, as far as its holder knows ([Claim] Foreign). An
// elector that knows nothing of it keeps it, and is another holder than it names.
const foreignAnnotation = "kube-vip.io/foreign"

// leaseStore makes the writes of a [Lease]. Each is one Create or one Update with the resourceVersion of the object that it
// is based on: a write succeeds only if nobody wrote in between.
type leaseStore struct {
	client          coordinationv1client.LeaseInterface
	namespace, name string
	timing          Timing
}

// term is what a write says of the holder.
type term struct {
	holder      string
	incarnation incarnation
	annotations map[string]string
	foreign     bool
}

// next returns base, which may be nil, as it is to be written for t. The term begins anew where the holder changes, and the
// transition is counted, as client-go does it; a release is no transition, what follows it is.
func (s leaseStore) next(base *coordinationv1.Lease, t term) *coordinationv1.Lease {
	now := metav1.NewMicroTime(time.Now())
	out := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name}}
	transitions, seconds := int32(0), s.timing.seconds()
	same := false
	if base != nil {
		out = base.DeepCopy()
		if n := base.Spec.LeaseTransitions; n != nil {
			transitions = *n
		}
		same = holder(base) == t.holder && base.Annotations[incarnationAnnotation] == string(t.incarnation)
	}
	if !same || out.Spec.AcquireTime == nil {
		out.Spec.AcquireTime = &now
	}
	switch {
	case t.holder == "":
		seconds = 1
	case base != nil && holder(base) != t.holder:
		transitions++
	}
	out.Spec.HolderIdentity, out.Spec.LeaseDurationSeconds = &t.holder, &seconds
	out.Spec.RenewTime, out.Spec.LeaseTransitions = &now, &transitions
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	maps.Copy(out.Annotations, t.annotations)
	delete(out.Annotations, incarnationAnnotation)
	if t.incarnation != "" {
		out.Annotations[incarnationAnnotation] = string(t.incarnation)
	}
	delete(out.Annotations, foreignAnnotation)
	if t.foreign {
		out.Annotations[foreignAnnotation] = t.holder
	}
	return out
}

// isForeign reports whether the holder of lease, which may be nil, knows a stranger to have what it is for.
func isForeign(lease *coordinationv1.Lease) bool {
	return holder(lease) != "" && lease.Annotations[foreignAnnotation] == holder(lease)
}

// update returns the request that writes next over the version that it was made from.
func (s leaseStore) update(next *coordinationv1.Lease) func(context.Context) (*coordinationv1.Lease, error) {
	return func(ctx context.Context) (*coordinationv1.Lease, error) {
		return s.client.Update(ctx, next, metav1.UpdateOptions{})
	}
}

// create returns the request that makes next, which may continue one that was deleted.
func (s leaseStore) create(next *coordinationv1.Lease) func(context.Context) (*coordinationv1.Lease, error) {
	next.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.namespace, Name: s.name, Labels: next.Labels, Annotations: next.Annotations,
	}
	return func(ctx context.Context) (*coordinationv1.Lease, error) {
		return s.client.Create(ctx, next, metav1.CreateOptions{})
	}
}

// read returns the request that reads the lease from etcd's quorum.
func (s leaseStore) read() func(context.Context) (*coordinationv1.Lease, error) {
	return func(ctx context.Context) (*coordinationv1.Lease, error) {
		return s.client.Get(ctx, s.name, metav1.GetOptions{})
	}
}
