package pools_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/require"
)

// TestRules plays a story for each rule of the pools, each in a namespace with a pool of its own, on one ccm that has the rights of its manifest and
// no others; at the end what the operator sees of it all.
func TestRules(t *testing.T) {
	b := newBed(t)
	kubeconfig := b.manifest(t)
	b.allowScraper(t)
	b.pools(t, map[string]string{
		"cidr-dual":         "198.18.1.0/29,fd00:1::1-fd00:1::7",
		"cidr-low":          "198.18.1.17-198.18.1.20,fd00:1:1::1/128",
		"cidr-quota":        "198.18.2.0/29",
		"quota-quota":       "2",
		"cidr-share":        "198.18.3.0/29",
		"allow-share-share": "true",
		"cidr-asks":         "198.18.4.0/28,198.19.0.0/29,fd00:4::1-fd00:4::7",
		"exclude":           "198.18.4.6",
		"cidr-shrink":       "198.18.5.0/29",
		"cidr-life":         "198.18.6.1/32",
		"interface-life":    "eth7",
		"cidr-lines":        "198.18.7.0/29",
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "198.18.4.5"}},
	}}
	require.Value(b.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}))(t)
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: map[string]string{
		"kubeconfig": "apiVersion: v1\nkind: Config\nclusters: [{name: '', cluster: {server: 'https://198.18.4.7:6443'}}]\n",
	}}
	require.Value(b.client.CoreV1().ConfigMaps("kube-public").Create(t.Context(), info, metav1.CreateOptions{}))(t)
	for _, namespace := range []string{"dual", "low", "quota", "share", "asks", "shrink", "life", "lines", "none"} {
		b.namespace(t, namespace)
	}
	b.alone(t, kubeconfig, "--secure-port=10258", "--bind-address=127.0.0.1",
		"--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig)
	for _, story := range []struct {
		name string
		play func(*testing.T, *bed)
	}{
		{"single to dual stack and back", dualAndBack}, {"dual stack where one family is exhausted", dualExhausted},
		{"a quota", quota}, {"shared addresses by protocol and port", shared}, {"each reason to refuse", refusals},
		{"a namespace without a pool", noPool}, {"a pool that shrinks", shrinks}, {"an address that comes free", comesFree},
		{"a link that changes", linkChanges}, {"a wrong line", wrongLine},
		{"ccm pools", poolsCommand}, {"metrics", metrics},
	} {
		t.Run(story.name, func(t *testing.T) { story.play(t, b) })
	}
}

// manifest applies what `ccm manifest` prints, and returns a kubeconfig of the ServiceAccount in it.
func (b *bed) manifest(t testing.TB) string {
	t.Helper()
	text := require.Value(b.here.Run(t.Context(), b.program, "manifest"))(t)
	require.NoError(t, controlplane.Apply(t.Context(), b.Config, text))
	id := require.Value(controlplane.ServiceAccount(t.Context(), b.client, "kube-system", "kube-vip-cloud-controller"))(t)
	return require.Value(b.WriteKubeconfig(id))(t)
}

func families(policy corev1.IPFamilyPolicy, list ...corev1.IPFamily) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &policy, list }
}

func policy(policy corev1.IPFamilyPolicy) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.IPFamilyPolicy = &policy }
}

func ports(list ...corev1.ServicePort) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Ports = list }
}

// hasNone reports whether nothing of ours is in the Service.
func hasNone(svc *corev1.Service) bool {
	return svc.Annotations[annotations.LoadBalancerIPs] == "" && svc.Annotations[annotations.ServiceInterface] == "" &&
		svc.Labels[annotations.ImplementationLabel] == "" && svc.Spec.LoadBalancerIP == "" && len(svc.Finalizers) == 0
}

func clusterIP(svc *corev1.Service) {
	svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, nil
}

func dualAndBack(t *testing.T, b *bed) {
	b.give(t, "dual", "web")
	b.await(t, "dual", "web", has("198.18.1.1"))
	b.change(t, "dual", "web", policy(corev1.IPFamilyPolicyPreferDualStack))
	b.await(t, "dual", "web", has("198.18.1.1,fd00:1::1"))
	b.give(t, "dual", "six", families(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv6Protocol, corev1.IPv4Protocol))
	svc := b.await(t, "dual", "six", has("fd00:1::2,198.18.1.2"))
	if svc.Spec.LoadBalancerIP != "fd00:1::2" {
		t.Errorf("the first address is the primary family's, not %s", svc.Spec.LoadBalancerIP)
	}
	b.change(t, "dual", "web", policy(corev1.IPFamilyPolicySingleStack))
	b.await(t, "dual", "web", has("198.18.1.1"))
	b.change(t, "dual", "web", policy(corev1.IPFamilyPolicyRequireDualStack))
	b.await(t, "dual", "web", has("198.18.1.1,fd00:1::1"))
}

func dualExhausted(t *testing.T, b *bed) {
	b.give(t, "low", "first", families(corev1.IPFamilyPolicyRequireDualStack))
	b.await(t, "low", "first", has("198.18.1.17,fd00:1:1::1"))
	b.give(t, "low", "prefers", families(corev1.IPFamilyPolicyPreferDualStack))
	b.await(t, "low", "prefers", has("198.18.1.18"))
	b.awaitEvent(t, "low", "Service", "prefers", "AddressAssigned 198.18.1.18 from pool low (2 of 4 used); no free IPv6 address in pool low (1 of 1 used)")
	b.drop(t, "low", "first")
	b.await(t, "low", "prefers", has("198.18.1.18,fd00:1:1::1"))
	b.give(t, "low", "requires", families(corev1.IPFamilyPolicyRequireDualStack))
	b.awaitEvent(t, "low", "Service", "requires", "PoolExhausted no free IPv6 address in pool low (1 of 1 used)")
	b.untouched(t, "low", "requires")
	b.change(t, "low", "prefers", policy(corev1.IPFamilyPolicySingleStack))
	b.await(t, "low", "requires", has("198.18.1.17,fd00:1:1::1"))
}

func quota(t *testing.T, b *bed) {
	for name, address := range map[string]string{"a": "198.18.2.3", "b": "198.18.2.5"} {
		b.give(t, "quota", name, annotate(annotations.LoadBalancerIPs, address))
		b.await(t, "quota", name, func(svc *corev1.Service) bool { return svc.Spec.LoadBalancerIP == address })
	}
	b.give(t, "quota", "c")
	b.awaitEvent(t, "quota", "Service", "c", "QuotaExceeded the namespace's quota is used up (2 of 2 addresses)")
	b.untouched(t, "quota", "c")
	b.drop(t, "quota", "a")
	b.await(t, "quota", "c", has("198.18.2.1"))
	b.give(t, "quota", "d", annotate(annotations.LoadBalancerIPs, "198.18.2.4"))
	b.awaitEvent(t, "quota", "Service", "d", "QuotaExceeded")
	b.untouched(t, "quota", "d")
	b.edit(t, map[string]string{"quota-quota": "3"})
	b.await(t, "quota", "d", func(svc *corev1.Service) bool { return svc.Spec.LoadBalancerIP == "198.18.2.4" })
}

func shared(t *testing.T, b *bed) {
	b.give(t, "share", "web", ports(corev1.ServicePort{Port: 80}))
	b.await(t, "share", "web", has("198.18.3.1"))
	b.give(t, "share", "udp", ports(corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolUDP}))
	b.await(t, "share", "udp", has("198.18.3.1"))
	b.give(t, "share", "tls", ports(corev1.ServicePort{Port: 443}))
	b.await(t, "share", "tls", has("198.18.3.1"))
	b.give(t, "share", "other", ports(corev1.ServicePort{Port: 80}))
	b.await(t, "share", "other", has("198.18.3.2"))
	// Its port becomes that of two others, each at an address.
	b.change(t, "share", "tls", ports(corev1.ServicePort{Port: 80}))
	b.await(t, "share", "tls", has("198.18.3.3"))
	b.awaitEvent(t, "share", "Service", "tls", "AddressAssigned 198.18.3.3") // said when what it had is free
	// 443 is free again at the first address.
	b.give(t, "share", "tls2", ports(corev1.ServicePort{Port: 443}))
	b.await(t, "share", "tls2", has("198.18.3.1"))
	b.change(t, "share", "udp", ports(corev1.ServicePort{Port: 81, Protocol: corev1.ProtocolUDP}))
	b.give(t, "share", "udp2", ports(corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolUDP}), annotate(annotations.LoadBalancerIPs, "198.18.3.1"))
	b.await(t, "share", "udp2", func(svc *corev1.Service) bool { return svc.Spec.LoadBalancerIP == "198.18.3.1" })
	b.await(t, "share", "udp", has("198.18.3.1"))
	b.give(t, "share", "late", ports(corev1.ServicePort{Port: 443}), annotate(annotations.LoadBalancerIPs, "198.18.3.1"))
	b.awaitEvent(t, "share", "Service", "late", "AddressRefused 198.18.3.1 is taken by share/tls2 (both use 443/TCP)")
	b.drop(t, "share", "tls2")
	b.await(t, "share", "late", func(svc *corev1.Service) bool { return svc.Spec.LoadBalancerIP == "198.18.3.1" })
}

func refusals(t *testing.T, b *bed) {
	b.give(t, "asks", "first")
	b.await(t, "asks", "first", has("198.18.4.1"))
	for name, test := range map[string]struct{ asks, event string }{
		"outside":   {"192.0.2.1", "192.0.2.1 is not in pool asks"},
		"foreign":   {"198.18.1.3", "198.18.1.3 is not in pool asks"},
		"family":    {"fd00:4::1", "fd00:4::1: the Service does not take IPv6"},
		"node":      {"198.18.4.5", "198.18.4.5 is excluded: node one"},
		"key":       {"198.18.4.6", "198.18.4.6 is excluded: key exclude"},
		"services":  {"198.19.0.3", "198.19.0.3 is excluded: Service CIDR kubernetes"},
		"control":   {"198.18.4.7", "198.18.4.7 is excluded: control-plane VIP"},
		"taken":     {"198.18.4.1", "198.18.4.1 is taken by asks/first"},
		"broken":    {"198.18.4.300", `annotation kube-vip.io/loadbalancerIPs="198.18.4.300"`},
		"one-wrong": {"198.18.4.2,192.0.2.7", "192.0.2.7 is not in pool asks"},
	} {
		b.give(t, "asks", name, annotate(annotations.LoadBalancerIPs, test.asks))
		b.awaitEvent(t, "asks", "Service", name, "AddressRefused "+test.event)
		svc := b.untouched(t, "asks", name)
		if svc.Annotations[annotations.LoadBalancerIPs] != test.asks {
			t.Errorf("%s: the request became %q", name, svc.Annotations[annotations.LoadBalancerIPs])
		}
	}
	b.give(t, "asks", "field", func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "198.18.4.1" })
	b.awaitEvent(t, "asks", "Service", "field", "AddressRefused 198.18.4.1 is taken by asks/first")
	t.Run("until the reason is gone", func(t *testing.T) {
		b.drop(t, "asks", "taken") // of the two that wait, so that it is known who comes next
		b.drop(t, "asks", "first")
		b.await(t, "asks", "field", has("198.18.4.1"))
		require.NoError(t, b.client.CoreV1().Nodes().Delete(t.Context(), "one", metav1.DeleteOptions{}))
		b.edit(t, map[string]string{"allow-outside-pools": "true", "exclude": ""})
		for name, address := range map[string]string{"outside": "192.0.2.1", "one-wrong": "198.18.4.2", "node": "198.18.4.5", "key": "198.18.4.6"} {
			b.await(t, "asks", name, func(svc *corev1.Service) bool { return svc.Spec.LoadBalancerIP == address })
		}
		b.edit(t, map[string]string{"allow-outside-pools": ""})
	})
}

func noPool(t *testing.T, b *bed) {
	b.give(t, "none", "web")
	b.awaitEvent(t, "none", "Service", "web", "NoPool no pool for the namespace")
	b.untouched(t, "none", "web")
	b.edit(t, map[string]string{"range-global": "198.18.0.8-198.18.0.9"})
	b.await(t, "none", "web", has("198.18.0.8"))
}

func shrinks(t *testing.T, b *bed) {
	b.give(t, "shrink", "a")
	b.await(t, "shrink", "a", has("198.18.5.1"))
	b.give(t, "shrink", "b")
	b.await(t, "shrink", "b", has("198.18.5.2"))
	b.edit(t, map[string]string{"cidr-shrink": "198.18.5.2/32"})
	b.awaitEvent(t, "shrink", "Service", "a", "OutsidePools 198.18.5.1 is in no pool of the namespace any more; it stays with this Service")
	b.awaitEvent(t, "kube-system", "ConfigMap", "kubevip", "PoolShrunk 1 addresses in use are in no pool any more")
	b.give(t, "shrink", "c")
	b.awaitEvent(t, "shrink", "Service", "c", "PoolExhausted no free IPv4 address in pool shrink (1 of 1 used)")
	b.await(t, "shrink", "a", has("198.18.5.1"))
	b.await(t, "shrink", "b", has("198.18.5.2"))
	if events := b.events(t, "shrink", "Service", "b"); strings.Contains(events, "OutsidePools") {
		t.Errorf("b is in the pool:\n%s", events)
	}
	b.edit(t, map[string]string{"cidr-shrink": "198.18.5.0/29"})
	b.await(t, "shrink", "c", has("198.18.5.3"))
}

// comesFree lets one Service after the other wait for the only address, and ends each that has it in another way.
func comesFree(t *testing.T, b *bed) {
	waits := func(name string) {
		b.give(t, "life", name)
		b.awaitEvent(t, "life", "Service", name, "PoolExhausted")
	}
	b.give(t, "life", "typed")
	b.await(t, "life", "typed", func(svc *corev1.Service) bool {
		return has("198.18.6.1")(svc) && svc.Annotations[annotations.ServiceInterface] == "eth7"
	})
	waits("classed")
	b.change(t, "life", "typed", clusterIP)
	b.await(t, "life", "classed", has("198.18.6.1"))
	b.await(t, "life", "typed", hasNone)
	waits("deleted")
	// The API server lets a class change only with the type; the ccm may see both changes as one.
	b.change(t, "life", "classed", clusterIP)
	b.change(t, "life", "classed", func(svc *corev1.Service) {
		class := "example.org/other"
		svc.Spec.Type, svc.Spec.LoadBalancerClass, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, &class, new(bool)
	})
	b.await(t, "life", "deleted", has("198.18.6.1"))
	b.await(t, "life", "classed", hasNone)
	waits("last")
	b.drop(t, "life", "deleted")
	b.await(t, "life", "last", has("198.18.6.1"))
	require.NoError(t, controlplane.AwaitGone(t.Context(), b.client.CoreV1().Services("life"), "deleted"))
}

func linkChanges(t *testing.T, b *bed) {
	link := func(name string) func(*corev1.Service) bool {
		return func(svc *corev1.Service) bool { return svc.Annotations[annotations.ServiceInterface] == name }
	}
	b.await(t, "life", "last", link("eth7"))
	b.edit(t, map[string]string{"interface-life": "eth8"})
	b.await(t, "life", "last", link("eth8"))
	b.edit(t, map[string]string{"interface-life": ""})
	b.await(t, "life", "last", func(svc *corev1.Service) bool {
		_, there := svc.Annotations[annotations.ServiceInterface]
		return !there
	})
	b.edit(t, map[string]string{"interface-global": "eth9"})
	b.await(t, "life", "last", link("eth9"))
	b.edit(t, map[string]string{"interface-global": ""})
	b.await(t, "life", "last", link(""))
}

func wrongLine(t *testing.T, b *bed) {
	b.edit(t, map[string]string{"cidr-lines": "198.18.7.0/33", "range-none": "198.18.7.3-198.18.7.4"})
	b.awaitEvent(t, "kube-system", "ConfigMap", "kubevip", `BadConfig cidr-lines, element 1, "198.18.7.0/33": prefix length out of range`)
	b.awaitMetric(t, "ccm_pool_config_broken_keys", "1")
	b.give(t, "lines", "last-good")
	b.await(t, "lines", "last-good", has("198.18.7.1"))
	b.give(t, "none", "other")
	b.await(t, "none", "other", has("198.18.7.3"))
	b.edit(t, map[string]string{"cidr-lines": "198.18.7.0/29"})
	b.awaitMetric(t, "ccm_pool_config_broken_keys", "0")
	b.awaitEvent(t, "kube-system", "ConfigMap", "kubevip",
		`DoubtfulConfig range-none, element 1, "198.18.7.3-198.18.7.4": overlaps 198.18.7.0/29 of cidr-lines; each address goes to whoever asks first`)
	for _, next := range []struct{ namespace, name, address string }{
		{"lines", "second", "198.18.7.2"}, {"none", "another", "198.18.7.4"}, {"lines", "third", "198.18.7.5"},
	} {
		b.give(t, next.namespace, next.name)
		b.await(t, next.namespace, next.name, has(next.address))
	}
	b.edit(t, map[string]string{"range-none": ""})
}

// untouched fails unless nothing was written to a Service that was refused, and returns it.
func (b *bed) untouched(t testing.TB, namespace, name string) *corev1.Service {
	t.Helper()
	svc := require.Value(b.client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{}))(t)
	for _, entry := range svc.ManagedFields {
		if entry.Manager == "kube-vip-cloud-provider" {
			t.Errorf("written: %+v", svc.ObjectMeta)
		}
	}
	return svc
}
