package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"daymark/annotations"
	"daymark/internal/agent"
	"daymark/internal/election"
	"daymark/internal/vip"
)

// decider is an elector that grants what the test says.
type decider struct {
	mu     sync.Mutex
	claims map[string]election.Claim
	set    bool
	heard  []string
	asked  []string // claims whose rights were doubted
	yields bool

	verdict election.Verdict // on each of those
	calm    bool             // it ends without a last Apply
	apply   election.Apply
	ready   chan struct{}
}

func newDecider() *decider { return &decider{ready: make(chan struct{})} }

func (d *decider) Set(claims []election.Claim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set, d.claims = true, make(map[string]election.Claim)
	for _, c := range claims {
		d.claims[c.Name] = c
	}
}

func (d *decider) Heard(claim string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = append(d.heard, claim)
}

// Verify answers what verdict says; without one it never does.
func (d *decider) Verify(claim string, settled func(election.Verdict)) {
	d.mu.Lock()
	d.asked = append(d.asked, claim)
	v := d.verdict
	d.mu.Unlock()
	if v != "" {
		settled(v)
	}
}

func (d *decider) Yield()  { d.yields = true }
func (d *decider) Resume() { d.yields = false }

func (d *decider) Run(ctx context.Context, apply election.Apply) error {
	d.apply = apply
	close(d.ready)
	<-ctx.Done()
	if d.calm {
		return nil
	}
	return apply(context.WithoutCancel(ctx), nil)
}

// grant gives this node the rights to claims: "name", "name passing", "name failover" or "name contended".
func (d *decider) grant(t *testing.T, claims ...string) {
	t.Helper()
	<-d.ready
	var rights []election.Right
	for _, c := range claims {
		name, how, _ := strings.Cut(c, " ")
		rights = append(rights, election.Right{
			Claim: name, Until: time.Now().Add(time.Hour), Passing: how == "passing", Failover: how == "failover", Contended: how == "contended",
		})
	}
	if err := d.apply(t.Context(), rights); err != nil {
		t.Errorf("apply: %v", err)
	}
}

// list returns the claims as "name" or "name@node,node", after "spread:" where no lease is for them, sorted.
func (d *decider) list() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, c := range d.claims {
		text := c.Name
		if c.Nodes != nil {
			text += "@" + strings.Join(c.Nodes, ",")
		}
		if !c.Leased {
			text = "spread:" + text
		}
		if c.Yields {
			text += " yields"
		}
		if c.Abstains {
			text += " abstains"
		}
		if c.Foreign {
			text += " foreign"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// world is an agent's Services over a fake API server, with a holder over recording rooms.
type world struct {
	*rig
	client   *fake.Clientset
	elector  *decider
	events   *record.FakeRecorder
	services *agent.Services
	end      func() // of Services, while the holder goes on
}

func newWorld(t *testing.T, change func(*agent.ServicesConfig), holders ...func(*agent.HolderConfig, *rig)) *world {
	w := &world{elector: newDecider(), events: record.NewFakeRecorder(1000)}
	w.client = fake.NewClientset(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}},
		}},
	)
	w.rig = newRig(t, func(c *agent.HolderConfig, r *rig) {
		c.Sources = []string{agent.SourceServices}
		c.Changed = func(s []agent.State) { w.services.Changed(s) }
		c.Passed = func(a vip.Address) { w.services.Passed(a) }
		c.Prober = nil
		for _, h := range holders {
			h(c, r)
		}
	})
	cfg := agent.ServicesConfig{
		Node: "n1", Mode: "ARP", Policy: defaultPolicy(), Client: w.client, Holder: w.Holder, Elector: w.elector, Logger: quietLog(t),
	}
	if change != nil {
		change(&cfg)
	}
	reporter := agent.NewReporter(agent.ReporterConfig{
		Node: "n1", Client: w.client, Events: w.events, Single: true, Metrics: cfg.Metrics, Logger: cfg.Logger,
	})
	cfg.Reporter = reporter
	w.services = agent.NewServices(cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = reporter.Run(ctx) })
	if cfg.Labels != nil {
		tasks.Go(func() { _ = cfg.Labels.Run(ctx) })
	}
	tasks.Go(func() {
		if err := w.services.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.end = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
	})
	t.Cleanup(w.end)
	w.settle()
	return w
}

// settle waits until everything that was started has been done.
func (w *world) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (w *world) put(svc *corev1.Service, eps ...*discoveryv1.EndpointSlice) {
	w.t.Helper()
	api := w.client.CoreV1().Services(svc.Namespace)
	_, err := api.Create(w.t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		_, err = api.Update(w.t.Context(), svc, metav1.UpdateOptions{})
	}
	for _, e := range eps {
		slices := w.client.DiscoveryV1().EndpointSlices(e.Namespace)
		if _, err := slices.Create(w.t.Context(), e, metav1.CreateOptions{}); err != nil {
			_, err = slices.Update(w.t.Context(), e, metav1.UpdateOptions{})
			if err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

func (w *world) get(name string) *corev1.Service {
	w.t.Helper()
	svc, err := w.client.CoreV1().Services("default").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return svc
}

// told returns the Events since the last call.
func (w *world) told() []string {
	time.Sleep(2 * time.Second)
	w.settle()
	var out []string
	for {
		select {
		case e := <-w.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func (w *world) expectTold(want ...string) {
	w.t.Helper()
	if d := cmp.Diff(want, w.told()); d != "" {
		w.t.Error(d)
	}
}

func (w *world) expectClaims(want string) {
	w.t.Helper()
	if got := w.elector.list(); got != want {
		w.t.Errorf("claims are %q, not %q", got, want)
	}
}

// said returns the status and vipHost of a Service.
func (w *world) said(name string) string {
	svc := w.get(name)
	var out []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		text := in.IP
		for _, p := range in.Ports {
			text += fmt.Sprintf(":%d", p.Port)
		}
		out = append(out, text)
	}
	if host := svc.Annotations[annotations.VIPHost]; host != "" {
		out = append(out, "by "+host)
	}
	return strings.Join(out, " ")
}

func (w *world) expectSaid(name, want string) {
	w.t.Helper()
	w.settle()
	if got := w.said(name); got != want {
		w.t.Errorf("the API says %q of %s, not %q", got, name, want)
	}
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestServices(t *testing.T) {
	story(t, "a Service is claimed, held when granted, reported, and let go of when deleted", func(t *testing.T) {
		w := newWorld(t, nil)
		w.expectClaims("reports")
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.expectClaims("192.0.2.10 reports")
		w.expect()
		w.elector.grant(t, "192.0.2.10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.expectSaid("web", "192.0.2.10:80 by n1")
		w.expectTold("Normal Held Held by n1 with ARP")
		if err := w.client.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.expect("wire -192.0.2.10", "kernel -192.0.2.10")
		w.expectClaims("reports")
	})

	story(t, "every later change of a Service is followed", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10", "192.0.2.11")
		w.settle()
		w.journal.take()
		w.put(service("web", "192.0.2.10", func(s *corev1.Service) { s.Spec.Ports[0].Port = 8080 }))
		w.expectSaid("web", "192.0.2.10:8080 by n1")
		w.expect()
		w.put(service("web", "192.0.2.11", func(s *corev1.Service) { s.Spec.Ports[0].Port = 8080 }))
		w.expect("kernel +192.0.2.11", "wire +192.0.2.11", "wire -192.0.2.10", "kernel -192.0.2.10")
		w.expectSaid("web", "192.0.2.11:8080 by n1")
		for name, away := range map[string]func(*corev1.Service){
			"another class":    class("other"),
			"ignored":          annotated(annotations.Ignore, "true"),
			"another type":     func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP },
			"no valid address": func(s *corev1.Service) { s.Annotations[annotations.LoadBalancerIPs] = "x y" },
		} {
			w.put(service("web", "192.0.2.11"))
			w.expectSaid("web", "192.0.2.11:80 by n1")
			w.journal.take()
			svc := w.get("web")
			away(svc)
			w.put(svc)
			if d := cmp.Diff([]string{"wire -192.0.2.11", "kernel -192.0.2.11"}, w.journal.take()); d != "" {
				t.Error(name, d)
			}
			w.expectSaid("web", "")
		}
	})

	story(t, "without endpoints it is not held; when the first comes, it is", func(t *testing.T) {
		w := newWorld(t, nil)
		w.elector.grant(t, "reports")
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1:down"))
		w.expectClaims("reports")
		w.expectTold("Normal NoEndpoints no serving endpoint")
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1:down"), slice("web", 1, "n2"))
		w.expectClaims("192.0.2.10 reports")
	})

	story(t, "policy Local goes to nodes with an endpoint, and is spread although the rest is not", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10", local), slice("web", 0, "n2"))
		w.expectClaims("reports spread:192.0.2.10@n2")
		w.put(service("web", "192.0.2.10", local), slice("web", 0, "n2", "n1"))
		w.expectClaims("reports spread:192.0.2.10@n1,n2")
		w.put(service("web", "192.0.2.10"))
		w.expectClaims("192.0.2.10 reports")
	})

	story(t, "Services that share an address are one claim, and hold it until the last one is gone", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("a", "192.0.2.10"), slice("a", 0, "n1"))
		w.put(service("b", "192.0.2.10,2001:db8::10"), slice("b", 0, "n1"))
		w.put(service("c", "2001:db8::10"), slice("c", 0, "n1"))
		w.expectClaims("192.0.2.10,2001:db8::10 reports")
		w.elector.grant(t, "192.0.2.10,2001:db8::10")
		w.expect("kernel +192.0.2.10", "kernel +2001:db8::10", "wire +192.0.2.10", "wire +2001:db8::10")
		w.put(service("b", "192.0.2.10"))
		w.expectClaims("192.0.2.10 2001:db8::10 reports")
		w.expect() // until the rights to both are here
		w.elector.grant(t, "192.0.2.10")
		w.expect("wire -2001:db8::10", "kernel -2001:db8::10")
		w.put(service("a", "192.0.2.11"))
		w.expect()
		w.expectClaims("192.0.2.10 192.0.2.11 2001:db8::10 reports")
	})

	story(t, "Services with one lease name are one claim", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("a", "192.0.2.10", annotated(annotations.LeaseName, "both")), slice("a", 0, "n1"))
		w.put(service("b", "192.0.2.11", annotated(annotations.LeaseName, "default/both")), slice("b", 0, "n1"))
		w.expectClaims("default/both,192.0.2.10,192.0.2.11 reports")
	})

	story(t, "one broken Service harms only itself", func(t *testing.T) {
		w := newWorld(t, nil)
		w.elector.grant(t, "reports")
		w.put(service("bad", "nonsense!"), slice("bad", 0, "n1"))
		w.put(service("thief", "192.0.2.2"), slice("thief", 0, "n1"))
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.expectClaims("192.0.2.10 reports")
		w.expectTold(
			`Warning BadAddress kube-vip.io/loadbalancerIPs: "nonsense!" is neither an IP address nor a host name`,
			"Warning AddressRefused 192.0.2.2: an address of node n1",
		)
	})

	story(t, "what belongs to gateways, control plane, nodes, pods and the service network is refused, also when it comes later", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) {
			c.Reserved = []agent.Reserved{
				{Prefix: prefix("192.0.2.1/32"), What: "the default gateway on eth0"},
				{Prefix: prefix("192.0.2.100/32"), What: "the control plane's address"},
			}
			c.Policy.AllowedIPs = []netip.Prefix{prefix("192.0.0.0/8"), prefix("198.18.0.0/15")}
		})
		w.elector.grant(t, "reports")
		for i, refused := range []string{"192.0.2.1", "192.0.2.100", "192.0.2.2", "203.0.113.1"} {
			w.put(service(fmt.Sprint("thief-", i), refused), slice(fmt.Sprint("thief-", i), 0, "n1"))
		}
		w.put(service("pod", "198.18.1.7"), slice("pod", 0, "n1"))
		w.put(service("cluster", "198.18.2.7"), slice("cluster", 0, "n1"))
		w.expectClaims("198.18.1.7 198.18.2.7 reports")
		node, err := w.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		must(t, err)
		node.Spec.PodCIDRs = []string{"198.18.1.0/24"}
		_, err = w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
		must(t, err)
		_, err = w.client.NetworkingV1().ServiceCIDRs().Create(t.Context(), &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"198.18.2.0/24"}},
		}, metav1.CreateOptions{})
		must(t, err)
		w.settle()
		w.expectClaims("reports")
		told := w.told()
		slices.Sort(told)
		told = slices.Compact(told)
		if d := cmp.Diff([]string{
			"Warning AddressRefused 192.0.2.100: the control plane's address",
			"Warning AddressRefused 192.0.2.1: the default gateway on eth0",
			"Warning AddressRefused 192.0.2.2: an address of node n1",
			"Warning AddressRefused 198.18.1.7: in the pod network of node n1",
			"Warning AddressRefused 198.18.2.7: in the cluster's service network",
			"Warning AddressRefused 203.0.113.1: outside svc_allowed_cidrs",
		}, told); d != "" {
			t.Error(d)
		}
	})

	story(t, "only one node tells why a Service is held by nobody", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("bad", "nonsense!"), slice("bad", 0, "n1"))
		w.expectTold()
		w.elector.grant(t, "reports")
		if told := w.told(); len(told) != 1 {
			t.Errorf("told %q", told)
		}
	})

	story(t, "a right that is passed on is let go of when the successor was heard for every address", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10,2001:db8::10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10,2001:db8::10")
		w.settle()
		w.journal.take()
		w.elector.grant(t, "192.0.2.10,2001:db8::10 passing")
		w.expect("wire -192.0.2.10", "wire -2001:db8::10")
		w.lan.ears[addr("192.0.2.10").Key()] <- agent.Announced
		w.settle()
		if len(w.elector.heard) > 0 {
			t.Error("let go of when one of two was heard")
		}
		w.lan.ears[addr("2001:db8::10").Key()] <- agent.Announced
		w.settle()
		if d := cmp.Diff([]string{"192.0.2.10,2001:db8::10"}, w.elector.heard); d != "" {
			t.Error(d)
		}
		w.elector.grant(t)
		w.expect("kernel -192.0.2.10", "kernel -2001:db8::10")
		// Whoever has it now writes the status.
		w.expectSaid("web", "192.0.2.10:80 2001:db8::10:80 by n1")
	})

	story(t, "a successor that was heard for one of two addresses is heard for both the next time", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10,2001:db8::10"), slice("web", 0, "n1"))
		const claim = "192.0.2.10,2001:db8::10"
		for _, heard := range []string{"192.0.2.10", "2001:db8::10"} {
			w.elector.grant(t, claim)
			w.settle()
			w.elector.grant(t, claim+" passing")
			w.settle()
			w.lan.ears[addr(heard).Key()] <- agent.Announced
			w.settle()
			w.elector.grant(t) // the second is over
		}
		if len(w.elector.heard) > 0 {
			t.Error("let go of when one of two was heard")
		}
		if n := w.services.Remembered(); n > 0 {
			t.Errorf("%d are remembered of what is over", n)
		}
	})

	story(t, "a Service that goes while it is passed on is let go of at once, and comes back as a new one", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.elector.grant(t, "192.0.2.10 passing")
		w.settle()
		w.journal.take()
		svc := w.get("web")
		svc.DeletionTimestamp = &metav1.Time{Time: time.Now()} // as when its namespace is deleted, and the ccm's finalizer keeps it
		w.put(svc)
		w.expect("kernel -192.0.2.10")
		w.expectClaims("reports")
		w.elector.grant(t)
		must(t, w.client.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}))
		w.put(service("web", "192.0.2.10"))
		w.expectClaims("192.0.2.10 reports")
		w.elector.grant(t, "192.0.2.10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
	})

	story(t, "what nobody had is asked for, what a node had that failed is taken at once", func(t *testing.T) {
		w := newWorld(t, nil, func(c *agent.HolderConfig, r *rig) { c.Prober = r.lan })
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.expect()
		w.settle()
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.elector.grant(t)
		w.elector.grant(t, "192.0.2.10 failover")
		w.expect("wire -192.0.2.10", "kernel -192.0.2.10", "kernel +192.0.2.10", "wire +192.0.2.10")
	})

	story(t, "what another node had for a moment at most is asked for, past what other agents answer, and what a stranger has is told", func(t *testing.T) {
		strangers := &lan{used: map[netip.Addr]bool{}}
		w := newWorld(t, nil, func(c *agent.HolderConfig, r *rig) {
			r.lan.used[netip.MustParseAddr("192.0.2.10")] = true // by an agent
			c.Prober, c.Strangers = r.lan, strangers
		})
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10 contended")
		w.settle()
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.elector.grant(t)
		strangers.setUsed("192.0.2.10", true)
		w.expectClaims("192.0.2.10 reports")
		w.elector.grant(t, "192.0.2.10 contended")
		time.Sleep(time.Minute)
		w.expect("wire -192.0.2.10", "kernel -192.0.2.10")
		w.expectClaims("192.0.2.10 foreign reports")
		strangers.setUsed("192.0.2.10", false)
		time.Sleep(11 * time.Second)
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.expectClaims("192.0.2.10 reports")
	})

	story(t, "an address that comes or goes takes no other with it", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "2001:db8::10"), slice("web", 0, "n1"))
		w.elector.grant(t, "2001:db8::10")
		w.settle()
		w.journal.take()
		w.put(service("web", "192.0.2.10,2001:db8::10")) // its lowest address is another one now
		w.expectClaims("192.0.2.10,2001:db8::10 reports")
		w.expect()
		w.elector.grant(t, "192.0.2.10,2001:db8::10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10")
		w.put(service("web", "192.0.2.10"))
		w.expect("wire -2001:db8::10", "kernel -2001:db8::10")
		w.elector.grant(t, "192.0.2.10")
		w.expect()
	})

	story(t, "under its old name a claim is passed on like any other", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "2001:db8::10"), slice("web", 0, "n1"))
		w.elector.grant(t, "2001:db8::10")
		w.put(service("web", "192.0.2.10,2001:db8::10"))
		w.elector.grant(t, "2001:db8::10 passing")
		w.lan.ears[addr("2001:db8::10").Key()] <- agent.Announced
		w.settle()
		if d := cmp.Diff([]string{"2001:db8::10"}, w.elector.heard); d != "" {
			t.Error(d)
		}
		w.elector.grant(t)
		w.journal.take()
		w.put(service("web", "192.0.2.10,2001:db8::10,2001:db8::11"))
		w.expect()
	})

	story(t, "a conflict is told to the Service's owner", func(t *testing.T) {
		w := newWorld(t, nil)
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.expectTold("Normal Held Held by n1 with ARP")
		w.services.Conflict(netipMust("192.0.2.10"), "02:00:00:00:00:99")
		w.expectTold("Warning AddressTrouble 192.0.2.10 is also used by 02:00:00:00:00:99")
	})

	story(t, "preserved addresses stay on the link when the right is lost, and go when the agent stops", func(t *testing.T) {
		for _, calm := range []bool{false, true} { // an elector that has no right may say nothing when it ends
			w := newWorld(t, func(c *agent.ServicesConfig) { c.Preserve = true })
			w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
			w.elector.grant(t, "192.0.2.10")
			w.elector.grant(t)
			w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10")
			w.elector.calm = calm
			w.end()
			w.expect("kernel -192.0.2.10")
		}
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Preserve = true })
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10")
		w.end()
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10", "kernel -192.0.2.10")
	})

	story(t, "an agent that ends before the election has spoken leaves what a former run left", func(t *testing.T) {
		w := newWorld(t, nil)
		w.kernel.change(func(k *room) { k.left = []vip.Address{addr("192.0.2.10")} })
		w.elector.calm = true
		w.end()
		synctest.Wait()
		w.expect()
		w.services.View()
	})

	story(t, "all that is preserved under one claim goes when one of it is heard elsewhere, and nothing else", func(t *testing.T) {
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Preserve = true })
		w.put(service("web", "192.0.2.10,2001:db8::10"), slice("web", 0, "n1"))
		w.put(service("other", "192.0.2.11"), slice("other", 0, "n1"))
		w.elector.grant(t, "192.0.2.10,2001:db8::10", "192.0.2.11")
		w.elector.grant(t)
		w.journal.take()
		w.services.Passed(addr("192.0.2.99")) // of a Service that is gone
		w.lan.ears[addr("2001:db8::10").Key()] <- agent.Announced
		w.settle()
		gone := w.journal.take()
		slices.Sort(gone) // the one that was heard may go first
		if d := cmp.Diff([]string{"kernel -192.0.2.10", "kernel -2001:db8::10"}, gone); d != "" {
			t.Error(d)
		}
	})

	preserving := func(t *testing.T) *world {
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Preserve = true })
		w.put(service("web", "192.0.2.10"), slice("web", 0, "n1"))
		w.elector.grant(t, "192.0.2.10", "reports")
		return w
	}
	story(t, "preserved addresses go when another host is heard, and when the link is down", func(t *testing.T) {
		w := preserving(t)
		w.elector.grant(t)
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10")
		w.lan.ears[addr("192.0.2.10").Key()] <- agent.Announced
		w.settle()
		w.expect("kernel -192.0.2.10")
		w.elector.grant(t, "192.0.2.10")
		w.elector.grant(t)
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10")
		w.services.SetSurroundings(agent.Surroundings{Links: map[string]string{"eth0": "is down"}})
		w.settle()
		w.expect("kernel -192.0.2.10")
	})
	story(t, "what was passed on is not preserved, nor what is lost with the link", func(t *testing.T) {
		w := preserving(t)
		w.elector.grant(t)
		w.elector.grant(t, "192.0.2.10")
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10", "wire +192.0.2.10")
		w.elector.grant(t, "192.0.2.10 passing")
		w.elector.grant(t)
		w.expect("wire -192.0.2.10", "kernel -192.0.2.10")
		w.elector.grant(t, "192.0.2.10")
		w.elector.grant(t, "192.0.2.10 passing")
		w.elector.grant(t)
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10", "kernel -192.0.2.10")
		w.elector.grant(t, "192.0.2.10")
		w.services.SetSurroundings(agent.Surroundings{Links: map[string]string{"eth0": "is down"}})
		w.elector.grant(t)
		w.expect("kernel +192.0.2.10", "wire +192.0.2.10", "wire -192.0.2.10", "kernel -192.0.2.10")
	})

	story(t, "a cordoned node hands over, and takes again when it may", func(t *testing.T) {
		var said []string
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Leaving = func(why string) { said = append(said, why) } })
		for _, cordoned := range []bool{true, false} {
			node, err := w.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			node.Spec.Unschedulable = cordoned
			if _, err := w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			w.settle()
		}
		if d := cmp.Diff([]string{"cordoned", ""}, said); d != "" {
			t.Error(d)
		}
	})

	story(t, "the UID of its Node is told, also when that is made anew", func(t *testing.T) {
		var uids []types.UID
		w := newWorld(t, func(c *agent.ServicesConfig) { c.Registered = func(uid types.UID) { uids = append(uids, uid) } })
		for _, uid := range []types.UID{"u1", "u2"} {
			reregister(t, w.client, uid)
			w.settle()
		}
		if d := cmp.Diff([]types.UID{"", "u1", "u2"}, slices.Compact(uids)); d != "" {
			t.Error(d)
		}
	})
}
