package agent_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"daymark/internal/agent"
	"daymark/internal/vip"
)

// static is a resolver whose answer never changes.
type static []netip.Addr

func (s static) Watch(ctx context.Context, changed func([]netip.Addr)) error {
	changed(s)
	<-ctx.Done()
	return nil
}

// changing is a resolver whose answer is what was sent last.
type changing chan []netip.Addr

func (c changing) Watch(ctx context.Context, changed func([]netip.Addr)) error {
	for {
		select {
		case addrs := <-c:
			changed(addrs)
		case <-ctx.Done():
			return nil
		}
	}
}

// plane is a control plane's address over recording rooms.
type plane struct {
	*rig
	strangers *lan // what of others than agents answers
	elector   *decider
	control   *agent.ControlPlane
	told      []agent.Event
	stop      context.CancelFunc
	done      chan error
}

func newPlane(t *testing.T, preserve bool, change ...func(*agent.ControlPlaneConfig)) *plane {
	p := &plane{elector: newDecider(), strangers: &lan{used: map[netip.Addr]bool{}}}
	p.rig = newRig(t, func(c *agent.HolderConfig, _ *rig) {
		c.Sources = []string{agent.SourceControlPlane}
		c.Changed = func(s []agent.State) { p.control.Changed(s) }
		c.Passed = func(a vip.Address) { p.control.Passed(a) }
		c.Strangers = p.strangers
	})
	cfg := agent.ControlPlaneConfig{
		Resolver: static{netipMust("192.0.2.1")}, Place: func(a netip.Addr) vip.Address { return addr(a.String()) },
		Elector: p.elector, Holder: p.Holder, Preserve: preserve, Tell: func(e agent.Event) { p.told = append(p.told, e) }, Logger: quietLog(t),
	}
	for _, c := range change {
		c(&cfg)
	}
	p.control = agent.NewControlPlane(cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p.stop, p.done = cancel, make(chan error, 1)
	go func() { p.done <- p.control.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-p.done)
	})
	synctest.Wait()
	return p
}

// grant gives the right, or takes it away; see [decider.grant].
func (p *plane) grant(claims ...string) {
	p.t.Helper()
	p.elector.grant(p.t, claims...)
	synctest.Wait()
}

func TestControlPlane(t *testing.T) {
	const claim = "control-plane failover"
	story(t, "a preserved address goes when another host is heard, and when the link is down", func(t *testing.T) {
		p := newPlane(t, true)
		for _, end := range []func(){
			func() { p.lan.ears[addr("192.0.2.1").Key()] <- agent.Announced },
			func() { p.control.SetCarrier(false) },
		} {
			p.grant(claim)
			p.grant()
			time.Sleep(time.Minute)
			p.expect("kernel +192.0.2.1", "wire +192.0.2.1", "wire -192.0.2.1")
			end()
			synctest.Wait()
			p.expect("kernel -192.0.2.1")
		}
		p.grant(claim)
		p.grant()
		p.expect("kernel +192.0.2.1", "wire +192.0.2.1", "wire -192.0.2.1", "kernel -192.0.2.1")
		p.control.SetCarrier(true)
		p.grant(claim)
		p.grant("control-plane passing")
		p.grant()
		p.expect("kernel +192.0.2.1", "wire +192.0.2.1", "wire -192.0.2.1", "kernel -192.0.2.1")
	})

	story(t, "a successor that was heard for one of two addresses is heard for both the next time", func(t *testing.T) {
		p := newPlane(t, false, func(c *agent.ControlPlaneConfig) {
			c.Resolver = static{netipMust("192.0.2.1"), netipMust("2001:db8::1")}
		})
		for _, heard := range []string{"192.0.2.1", "2001:db8::1"} {
			p.grant(claim)
			p.grant("control-plane passing")
			p.lan.ears[addr(heard).Key()] <- agent.Announced
			time.Sleep(time.Second)
			p.grant() // it is over
		}
		if len(p.elector.heard) > 0 {
			t.Error("let go of when one of two was heard")
		}
	})

	story(t, "a preserved address goes with the agent", func(t *testing.T) {
		p := newPlane(t, true)
		p.grant(claim)
		p.grant()
		p.expect("kernel +192.0.2.1", "wire +192.0.2.1", "wire -192.0.2.1")
		p.elector.calm = true // an elector that has no right says nothing when it ends
		p.stop()
		must(t, <-p.done)
		p.done <- nil
		p.expect("kernel -192.0.2.1")
	})

	story(t, "an agent that ends leaves what it holds without an election to the announcers to withdraw", func(t *testing.T) {
		p := newPlane(t, false, func(c *agent.ControlPlaneConfig) { c.StayAtStop = true })
		p.grant(claim)
		p.stop()
		must(t, <-p.done)
		p.done <- nil
		p.expect("kernel +192.0.2.1", "wire +192.0.2.1")
	})

	story(t, "another host that uses the address is told on the Node, once a minute", func(t *testing.T) {
		p := newPlane(t, false)
		p.grant(claim)
		for range 61 {
			p.control.Conflict(netipMust("192.0.2.1"), "02:00:00:00:00:99")
			p.control.Conflict(netipMust("192.0.2.2"), "02:00:00:00:00:99")
			time.Sleep(time.Second)
		}
		e := agent.Event{Type: corev1.EventTypeWarning, Reason: "AddressTrouble", Text: "control plane: 192.0.2.1 is also used by 02:00:00:00:00:99"}
		if d := cmp.Diff([]agent.Event{e, e}, p.told); d != "" {
			t.Error(d)
		}
	})

	story(t, "an address that another host has before us is not taken, and that is told on the Node", func(t *testing.T) {
		p := newPlane(t, false)
		p.lan.setUsed("192.0.2.1", true)
		p.grant("control-plane")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		p.expect()
		e := agent.Event{Type: corev1.EventTypeWarning, Reason: "AddressTrouble", Text: "control plane: 192.0.2.1: used by 02:00:00:00:00:99"}
		if d := cmp.Diff([]agent.Event{e}, p.told); d != "" {
			t.Error(d)
		}
	})

	story(t, "while a stranger has an address the elector knows, and who has the right next asks past what other agents answer", func(t *testing.T) {
		p := newPlane(t, false)
		expect := func(claims string) {
			t.Helper()
			if got := p.elector.list(); got != claims {
				t.Errorf("stands for %q, want %q", got, claims)
			}
		}
		expect("spread:control-plane")
		p.strangers.setUsed("192.0.2.1", true)
		p.grant("control-plane contended")
		for range 30 { // also while it is asked for again
			time.Sleep(time.Second)
			expect("spread:control-plane foreign")
		}
		p.expect()
		p.lan.setUsed("192.0.2.1", true) // an agent's
		p.strangers.setUsed("192.0.2.1", false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		p.expect("kernel +192.0.2.1", "wire +192.0.2.1")
		expect("spread:control-plane")
	})

	story(t, "an address that is the control plane's no more is no stranger's either", func(t *testing.T) {
		addrs := make(changing)
		p := newPlane(t, false, func(c *agent.ControlPlaneConfig) { c.Resolver = addrs })
		addrs <- []netip.Addr{netipMust("192.0.2.1"), netipMust("192.0.2.2")}
		p.lan.setUsed("192.0.2.1", true)
		p.grant("control-plane")
		time.Sleep(time.Second)
		addrs <- []netip.Addr{netipMust("192.0.2.2")}
		time.Sleep(time.Second)
		if got := p.elector.list(); got != "spread:control-plane" {
			t.Errorf("stands for %q", got)
		}
	})
}

func TestNodeWatch(t *testing.T) {
	story(t, "a cordoned node, one that is not ready, one that is not any more, and one that is gone", func(t *testing.T) {
		client := fake.NewClientset()
		var said []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- agent.NodeWatch{Client: client, Node: "n1", Leaving: func(why string) { said = append(said, why) }}.Run(ctx)
		}()
		synctest.Wait()
		nodes := client.CoreV1().Nodes()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{Unschedulable: true}}
		_, err := nodes.Create(ctx, node, metav1.CreateOptions{})
		must(t, err)
		synctest.Wait()
		ready := func(s corev1.ConditionStatus) []corev1.NodeCondition {
			return []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: s}}
		}
		tainted := func(key string) []corev1.Taint {
			return []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}, {Key: key, Effect: corev1.TaintEffectNoExecute}}
		}
		for _, now := range []struct {
			cordoned   bool
			conditions []corev1.NodeCondition
			taints     []corev1.Taint
		}{
			{}, // not cordoned, and nothing known
			{conditions: ready(corev1.ConditionFalse)},
			{conditions: ready(corev1.ConditionUnknown)}, // no news
			{conditions: ready(corev1.ConditionUnknown), taints: tainted(corev1.TaintNodeUnreachable)},
			{conditions: ready(corev1.ConditionTrue), taints: tainted(corev1.TaintNodeUnreachable)},
			{conditions: ready(corev1.ConditionTrue)},
			{conditions: ready(corev1.ConditionTrue), taints: tainted(corev1.TaintNodeOutOfService)},
			{cordoned: true, conditions: ready(corev1.ConditionFalse)},
			{conditions: ready(corev1.ConditionFalse)},
		} {
			node.Spec.Unschedulable, node.Status.Conditions, node.Spec.Taints = now.cordoned, now.conditions, now.taints
			_, err = nodes.Update(ctx, node, metav1.UpdateOptions{})
			must(t, err)
			synctest.Wait()
		}
		must(t, nodes.Delete(ctx, "n1", metav1.DeleteOptions{}))
		synctest.Wait()
		cancel()
		must(t, <-done)
		want := []string{"cordoned", "", "not ready", "", "tainted node.kubernetes.io/out-of-service", "cordoned", "not ready", ""}
		if d := cmp.Diff(want, said); d != "" {
			t.Error(d)
		}
	})

	story(t, "the UID of the Node is told when that is made, also anew, and not while it is gone", func(t *testing.T) {
		client := fake.NewClientset()
		var uids []types.UID
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			w := agent.NodeWatch{Client: client, Node: "n1", Registered: func(uid types.UID) { uids = append(uids, uid) }}
			done <- w.Run(ctx)
		}()
		synctest.Wait()
		reregister(t, client, "u1")
		reregister(t, client, "u2")
		cancel()
		must(t, <-done)
		if d := cmp.Diff([]types.UID{"u1", "u2"}, slices.Compact(uids)); d != "" {
			t.Error(d)
		}
	})
}

// reregister makes the Node n1 anew, with this UID.
func reregister(t *testing.T, client *fake.Clientset, uid types.UID) {
	t.Helper()
	nodes := client.CoreV1().Nodes()
	if err := nodes.Delete(t.Context(), "n1", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		must(t, err)
	}
	synctest.Wait()
	_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: uid}}, metav1.CreateOptions{})
	must(t, err)
	synctest.Wait()
}
