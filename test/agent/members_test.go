package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/test/controlplane"
	"daymark/test/require"
)

// A member's Lease names its node's Node as its owner, of the UID that this has now, where the API server allows it; where it doesn't, the
// member goes on without. The bed has no garbage collector: the test does what that would do.
func TestFaultMemberLeasesGoWithTheirNodes(t *testing.T) {
	require.Asked(t, "DAYMARK_FAULTS", "make faults")
	b := newBedWith(t, []string{"--enable-admission-plugins=OwnerReferencesPermissionEnforcement"}, "n1", "n2")
	b.start()
	require.NoError(t, b.nodes[1].Register(t.Context(), nil))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	web, plane := b.lan.Addr(100), b.lan.Addr(201)
	options := []string{"--controlplane", "--arp", "--interface", "eth0", "--address", plane.String()}
	b.restrict(ctx, options...)
	leases := b.client.CoordinationV1().Leases("kube-system")
	first, second := b.nodes[0], b.nodes[1]
	const services, controlPlane = "kube-vip-member-services-n1", "kube-vip-member-control-plane-n2"
	owned := func(n *controlplane.Node, lease string) {
		t.Helper()
		node := require.Value(b.client.CoreV1().Nodes().Get(ctx, n.Name(), metav1.GetOptions{}))(t)
		want := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name(), UID: node.UID}}
		b.until(ctx, func() string {
			return cmp.Diff(want, require.Value(leases.Get(ctx, lease, metav1.GetOptions{}))(t).OwnerReferences)
		})
	}
	renewed := func(lease string, times int) (last *coordinationv1.Lease) {
		t.Helper()
		for range times {
			now := metav1.NowMicro()
			last = require.Value(controlplane.Await(ctx, leases, lease, func(l *coordinationv1.Lease) bool {
				return l.Spec.RenewTime != nil && now.Before(l.Spec.RenewTime)
			}))(t)
		}
		return last
	}

	require.Value(leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: controlPlane, Labels: map[string]string{"kube-vip.io/member-of": "control-plane"},
	}}, metav1.CreateOptions{}))(t) // who creates one may name any owner
	agent := b.agent(first, "svc_enable=true", "svc_election=true")
	limited := append(brisk(), "cp_enable=true", "address="+plane.String(), "k8s_config_file="+kubeVIPConf)
	withoutRight := b.agent(second, limited...)
	b.service("web", web, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	b.held(ctx, "web", "n1")
	defer require.Value(b.lan.Observer().Ask(web, asking))(t)()
	began := time.Now()

	t.Log("an owner that the member may name")
	owned(first, services)
	t.Log("an owner that the member may not name")
	require.NoError(t, second.Host.WaitAddr(ctx, plane))
	b.until(ctx, func() string {
		if metric(t, second, `vip_election_failed_renewals_total{lease="control-plane"}`) == 0 {
			return "the API server lets the member name its owner"
		}
		return ""
	})
	if l := renewed(controlPlane, 2); len(l.OwnerReferences) > 0 || !require.Value(second.Host.Has(plane))(t) {
		t.Errorf("the owners are %v", l.OwnerReferences)
	}
	if n := metric(t, second, `vip_election_failed_renewals_total{lease="control-plane"}`); n != 1 {
		t.Errorf("%v renewals failed", n)
	}
	require.NoError(t, withoutRight.Stop(ctx))
	b.letDelete(ctx)
	b.agent(second, limited...)
	owned(second, controlPlane)

	t.Log("a Node that is deleted while its agent lives, and made anew")
	collect := func() {
		t.Helper()
		require.NoError(t, b.client.CoreV1().Nodes().Delete(ctx, first.Name(), metav1.DeleteOptions{}))
		uid := require.Value(leases.Get(ctx, services, metav1.GetOptions{}))(t).UID
		require.NoError(t, leases.Delete(ctx, services, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}))
		if l := renewed(services, 3); l.UID == uid || len(l.OwnerReferences) > 0 {
			t.Errorf("a Lease of the same UID, or of owners %v", l.OwnerReferences)
		}
	}
	collect()
	require.NoError(t, first.Register(ctx, nil))
	owned(first, services)
	collect()
	if none := b.lan.Observer().Silence(web, began, time.Now()); none.Longest > time.Second {
		t.Errorf("nobody answered for %v", none.Longest)
	}
	require.NoError(t, agent.Stop(ctx))
	if l := require.Value(leases.Get(ctx, services, metav1.GetOptions{}))(t); *l.Spec.HolderIdentity != "" || len(l.OwnerReferences) != 1 {
		t.Errorf("what the agent leaves is held by %q, its owners are %v", *l.Spec.HolderIdentity, l.OwnerReferences)
	}
}

// brisk is a lease duration that a test need not wait for for long.
func brisk() []string {
	return []string{"vip_leaseduration=3", "vip_renewdeadline=2", "vip_retryperiod=1"}
}

// letDelete adds the right to delete leases to those of the agents' account.
func (b *bed) letDelete(ctx context.Context) {
	b.t.Helper()
	roles := b.client.RbacV1().Roles("kube-system")
	role := require.Value(roles.Get(ctx, "kube-vip", metav1.GetOptions{}))(b.t)
	i := slices.IndexFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "leases") })
	role.Rules[i].Verbs = append(role.Rules[i].Verbs, "delete")
	require.Value(roles.Update(ctx, role, metav1.UpdateOptions{}))(b.t)
	b.until(ctx, func() string { // the API server follows its roles as anybody else does
		review := require.Value(b.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: kubeVIPAccount, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: "kube-system", Verb: "delete", Group: "coordination.k8s.io", Resource: "leases",
			}},
		}, metav1.CreateOptions{}))(b.t)
		if !review.Status.Allowed {
			return "the right to delete leases is not known yet"
		}
		return ""
	})
}

// A live member whose record can't be read is told of on the Node and by a metric. Until it is gone what is held stays, and nothing new is
// taken.
func TestAMemberThatCannotBeReadIsToldOf(t *testing.T) {
	b := newBed(t, "n1")
	b.start()
	n := b.nodes[0]
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	b.agent(n, "svc_enable=true", "svc_election=true")
	kept, late := b.lan.Addr(100), b.lan.Addr(101)
	b.service("kept", kept, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	b.held(ctx, "kept", "n1")

	const other, unreadable = "kube-vip-member-services-n2", `vip_election_unreadable_members{lease="services"}`
	leases := b.client.CoordinationV1().Leases("kube-system")
	renew := func() { // as an agent of a later version would
		t.Helper()
		node, seconds, now := "n2", int32(10), metav1.NowMicro() // an API server on a busy machine may answer after seconds
		lease := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Name: other, Labels: map[string]string{"kube-vip.io/member-of": "services"}, Annotations: map[string]string{"kube-vip.io/member": `{"format":9}`},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &node, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}
		_, err := leases.Create(ctx, lease, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			lease = require.Value(leases.Get(ctx, other, metav1.GetOptions{}))(t)
			lease.Spec.RenewTime = &now
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		require.NoError(t, err)
	}
	if m := metric(t, n, unreadable); m != 0 {
		t.Errorf("%s is %v before there is any", unreadable, m)
	}
	renew()
	b.until(ctx, func() string {
		selector := metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=n1,reason=ElectionTrouble"}
		events := require.Value(b.client.CoreV1().Events("default").List(ctx, selector))(t).Items
		if len(events) != 1 || events[0].Type != corev1.EventTypeWarning || !strings.Contains(events[0].Message, "Lease kube-system/"+other) {
			return fmt.Sprintf("Events: %v", events)
		}
		return ""
	})
	b.service("late", late, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	for range 4 {
		renew()
		require.NoError(t, after(ctx, time.Second))
	}
	if m := metric(t, n, unreadable); m != 1 || !require.Value(n.Has(kept))(t) || require.Value(n.Has(late))(t) {
		t.Errorf("%s is %v, and the addresses: kept %v, late %v", unreadable, m, require.Value(n.Has(kept))(t), require.Value(n.Has(late))(t))
	}
	require.NoError(t, leases.Delete(ctx, other, metav1.DeleteOptions{}))
	b.held(ctx, "late", "n1")
	if m := metric(t, n, unreadable); m != 0 || !require.Value(n.Has(kept))(t) {
		t.Errorf("%s is %v after its member's end", unreadable, m)
	}
}
