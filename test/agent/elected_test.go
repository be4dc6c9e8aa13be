package agent_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/require"
)

// elected is a bed whose nodes run the agent for the control plane and Services, with exactly the rights that `vip manifest rbac`
// gives. Some Services ask for an election of their own, some for company, and the rest is under one lease.
type elected struct {
	*bed
	env    []string
	agents map[string]*netns.Command

	controlPlane netip.Addr
	leased       []netip.Addr
	asking       []netip.Addr            // by name asking-0, asking-1 and so on
	groups       map[string][]netip.Addr // what has to be together, by lease name
}

// kubeVIPConf is the agents' kubeconfig, of their ServiceAccount.
const kubeVIPConf = "/etc/kubernetes/kube-vip.conf"

// restrict gives every node that kubeconfig, whose account has the rights that `vip manifest rbac` gives for options.
func (b *bed) restrict(ctx context.Context, options ...string) {
	b.t.Helper()
	rbac := require.Value(b.nodes[0].Run(ctx, append([]string{require.Value(vip())(b.t), "manifest", "rbac"}, options...)...))(b.t)
	admin := require.Value(b.cluster.Admin())(b.t)
	require.NoError(b.t, controlplane.Apply(ctx, b.cluster.Config(b.nodes[0].Host, b.nodes[0].Addr(), admin), rbac))
	account := require.Value(b.cluster.User(kubeVIPAccount, "system:serviceaccounts"))(b.t)
	conf := require.Value(b.cluster.Kubeconfig(b.nodes[0].Addr(), account))(b.t)
	for _, n := range b.nodes {
		require.NoError(b.t, n.WriteFile(kubeVIPConf, conf))
	}
}

const kubeVIPAccount = "system:serviceaccount:kube-system:kube-vip"

const cpLease = "net/plndr-cp-lock"

func newElected(t *testing.T) *elected {
	e := &elected{bed: newBed(t, "n1", "n2", "n3"), agents: map[string]*netns.Command{}, groups: map[string][]netip.Addr{}}
	e.start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for _, name := range []string{"net", "shop"} {
		require.Value(e.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	}
	e.controlPlane = e.lan.Addr(200)
	e.restrict(ctx, "--controlplane", "--services", "--arp", "--interface", "eth0", "--address", e.controlPlane.String(), "--leaseName", cpLease)
	e.env = []string{
		"k8s_config_file=" + kubeVIPConf, "cp_enable=true", "svc_enable=true", "address=" + e.controlPlane.String(), "vip_leasename=" + cpLease,
		`vip_leaseannotations={"team":"net","ticket":"NET-7"}`, "per_service_election_on_demand=true",
	}
	for _, n := range e.nodes {
		require.NoError(t, n.Register(ctx, nil))
	}
	e.create(ctx)
	for _, n := range e.nodes {
		e.agents[n.Name()] = e.agent(n, e.env...)
	}
	for _, addr := range e.all() {
		t.Cleanup(require.Value(e.lan.Observer().Ask(addr, asking))(t))
	}
	return e
}

// asking is the period of the observer's questions.
const asking = 50 * time.Millisecond

// create creates the Services.
func (e *elected) create(ctx context.Context) {
	next := 100
	service := func(namespace, name string, notes ...string) netip.Addr {
		addr := e.lan.Addr(next)
		next++
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Annotations: map[string]string{
				annotations.LoadBalancerIPs: addr.String(), annotations.AllowReconcileWithoutEndpoints: "true",
			}},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		for _, note := range notes {
			key, value, _ := strings.Cut(note, "=")
			svc.Annotations[key] = value
		}
		require.Value(e.client.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}))(e.t)
		return addr
	}
	const ask, lease = annotations.ForcePerServiceElection + "=true", annotations.LeaseName + "="
	for i := range 4 {
		e.leased = append(e.leased, service("default", fmt.Sprint("leased-", i)))
	}
	for i := range 8 {
		e.asking = append(e.asking, service("default", fmt.Sprint("asking-", i), ask))
	}
	for _, name := range []string{"default/web", "default/mail", "shop/mail"} {
		group := strings.ReplaceAll(name, "/", "-")
		namespace, base, _ := strings.Cut(name, "/")
		e.groups[name] = []netip.Addr{
			service(namespace, group+"-1", ask, lease+base), service("default", group+"-2", ask, lease+name), service("shop", group+"-3", ask, lease+name),
		}
	}
}

// all are the addresses of all.
func (e *elected) all() []netip.Addr {
	out := append([]netip.Addr{e.controlPlane}, slices.Concat(e.leased, e.asking)...)
	for _, name := range slices.Sorted(maps.Keys(e.groups)) {
		out = append(out, e.groups[name]...)
	}
	return out
}

// on returns the node whose kernel has addr; "" where not just one has.
func (e *elected) on(addr netip.Addr) string {
	e.t.Helper()
	var out []string
	for _, n := range e.nodes {
		if require.Value(n.Has(addr))(e.t) {
			out = append(out, n.Name())
		}
	}
	if len(out) != 1 {
		return ""
	}
	return out[0]
}

// where returns the nodes that have addrs, sorted; "" among them where one is not on just one node.
func (e *elected) where(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, e.on(a))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// wrong says what is not as it has to be at rest.
func (e *elected) wrong(t *testing.T) string {
	if w := e.where(e.all()); slices.Contains(w, "") {
		return "not every address is on one node"
	}
	if w, h := e.where(e.leased), e.holder(t, "kube-system/kube-vip-services"); len(w) != 1 || w[0] != h {
		return fmt.Sprintf("what is leased is on %v, and the lease with %s", w, h)
	}
	if at, h := e.on(e.controlPlane), e.holder(t, cpLease); at != h {
		return fmt.Sprintf("the control plane's address is on %s, and the lease with %s", at, h)
	}
	for name, group := range e.groups {
		if w := e.where(group); len(w) != 1 {
			return fmt.Sprintf("what belongs together as %s is on %v", name, w)
		}
	}
	return ""
}

// settle waits until more is as it has to be, and after that all is: what is nowhere is not on a node that died either.
func (e *elected) settle(t *testing.T, more ...func() string) {
	t.Helper()
	tick := time.NewTicker(asking)
	defer tick.Stop()
	why := "nobody looked"
	for began := time.Now(); why != ""; <-tick.C {
		if time.Since(began) > 20*time.Second {
			t.Fatal(why)
		}
		why = ""
		for _, wrong := range more {
			why = cmp.Or(why, wrong())
		}
		why = cmp.Or(why, e.wrong(t))
	}
}

// rest waits until no address has moved for so long that none will: nodes look every two seconds at how even the spread is, and correct it
// when it was the same at two looks.
func (e *elected) rest(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(asking)
	defer tick.Stop()
	var last []string
	since := time.Now()
	for began := since; time.Since(since) < 4500*time.Millisecond; <-tick.C {
		var now []string
		for _, addr := range e.all() {
			now = append(now, e.on(addr))
		}
		if !slices.Equal(now, last) || slices.Contains(now, "") {
			last, since = now, time.Now()
		}
		if since.Sub(began) > 30*time.Second {
			t.Fatal("addresses move all the time")
		}
	}
}

// over waits until each address is on one node alone, and a little longer: what comes then belongs to no hand-over before it.
func (e *elected) over(t *testing.T) {
	t.Helper()
	until(t, 20*time.Second, "each address on one node", func() bool {
		for _, addr := range e.all() {
			holders := 0
			for _, n := range e.nodes {
				if require.Value(n.Host.Has(addr))(t) {
					holders++
				}
			}
			if holders != 1 {
				return false
			}
		}
		return true
	})
	pause := time.NewTimer(4 * asking)
	<-pause.C
}

// holder returns who has a lease, by namespace and name.
func (e *elected) holder(t *testing.T, ref string) string {
	t.Helper()
	namespace, name, _ := strings.Cut(ref, "/")
	lease, err := e.client.CoordinationV1().Leases(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// smoothly asserts that while something planned happened since began, no address had no holder, or two for long.
func (e *elected) smoothly(t *testing.T, began time.Time) {
	t.Helper()
	now := time.Now()
	for _, addr := range e.all() {
		h := e.lan.Observer().History(addr, began).Between(began, now)
		if two := h.LongestOverlap(3 * asking); two > time.Second {
			t.Errorf("two answered for %s for %v:\n%s", addr, two, h.Turns())
		}
		if none := h.LongestSilence(began, now); none > 2*time.Second {
			t.Errorf("nobody answered for %s for %v:\n%s", addr, none, h.Turns())
		}
	}
}
