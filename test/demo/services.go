package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/stage"
)

// The pools, as a user writes them, and what each gives.
const (
	shopPool   = "198.18.0.208/29,fd00:18::5:0/112"
	globalPool = "198.18.0.224/29,fd00:18::6:0/112"
)

// startCCM applies what `ccm manifest` prints, writes the pools, and runs the program with the rights of its ServiceAccount.
func (p *play) startCCM(ctx context.Context) (string, error) {
	n := p.cluster.Node("node-1")
	if err := p.cluster.ApplyCCM(ctx, n); err != nil {
		return "", err
	}
	shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := p.cluster.Kube.CoreV1().Namespaces().Create(ctx, shop, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	pools := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kubevip, namespace: kube-system}\ndata: {cidr-shop: \"%s\", cidr-global: \"%s\"}\n", shopPool, globalPool)
	if err := controlplane.Apply(ctx, p.cluster.API, []byte(pools)); err != nil {
		return "", err
	}
	return fmt.Sprintf("pool shop %s, pool global %s", shopPool, globalPool), p.cluster.StartCCM(ctx, n, p.vip, "--leader-elect=true")
}

// service is one that the demo made.
type service struct {
	namespace, name string
	addrs           []netip.Addr // one in each family
	holder          string
}

func (s service) String() string { return s.namespace + "/" + s.name }

func (s service) text() string { return joinAddrs(s.addrs) }

// services creates one dual-stack Service in each namespace, with two pods each, and fetches a page through every address.
func (p *play) services(ctx context.Context) (string, error) {
	var lines []string
	for i, namespace := range []string{"shop", "default"} {
		name := []string{"shop-web", "web"}[i]
		created := time.Now()
		if err := p.createService(ctx, namespace, name); err != nil {
			return "", err
		}
		s, err := p.held(ctx, namespace, name)
		if err != nil {
			return "", err
		}
		pool := []string{shopPool, globalPool}[i]
		for _, addr := range s.addrs {
			if !inPool(pool, addr) {
				return "", fmt.Errorf("service %s got %s, which is not in its pool %s", s, addr, pool)
			}
			page, after, err := stage.Page(ctx, p.client, addr, created)
			if err != nil {
				return "", err
			}
			if addr.Is4() {
				p.Row(fmt.Sprintf("Service %s created, first page after", s), stage.Seconds(after))
			}
			lines = append(lines, fmt.Sprintf("%s has %s, held by %s; its page comes from pod %s, %s after it was created", s, addr, s.holder, page, stage.Seconds(after)))
		}
	}
	return strings.Join(lines, "\n"), nil
}

// createService makes two pods on different nodes, the Service, and its EndpointSlices.
func (p *play) createService(ctx context.Context, namespace, name string) error {
	both := corev1.IPFamilyPolicyRequireDualStack
	nodes := []*controlplane.Node{p.cluster.Node("node-2"), p.cluster.Node("node-3")}
	return stage.CreateService(ctx, p.cluster.Kube, namespace, name, nodes, func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &both })
}

// held waits until a node says in the Service's status that it holds the addresses.
func (p *play) held(ctx context.Context, namespace, name string) (service, error) {
	got, err := controlplane.Await(ctx, p.cluster.Kube.CoreV1().Services(namespace), name, func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 2 && s.Annotations[annotations.VIPHost] != ""
	})
	if err != nil {
		return service{}, err
	}
	out := service{namespace: namespace, name: name, holder: got.Annotations[annotations.VIPHost]}
	for _, in := range got.Status.LoadBalancer.Ingress {
		addr, err := netip.ParseAddr(in.IP)
		if err != nil {
			return service{}, err
		}
		out.addrs = append(out.addrs, addr)
	}
	return out, nil
}

// inPool tells whether one of the pool's prefixes contains addr.
func inPool(pool string, addr netip.Addr) bool {
	return slices.ContainsFunc(strings.Split(pool, ","), func(cidr string) bool { return netip.MustParsePrefix(cidr).Contains(addr) })
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// deleteService deletes the Service of namespace shop: its addresses leave the node, and the pool gives them to the next one.
func (p *play) deleteService(ctx context.Context) (string, error) {
	s, err := p.held(ctx, "shop", "shop-web")
	if err != nil {
		return "", err
	}
	began := time.Now()
	if err := p.cluster.Kube.CoreV1().Services("shop").Delete(ctx, s.name, metav1.DeleteOptions{}); err != nil {
		return "", err
	}
	for _, n := range p.cluster.Nodes() {
		for _, addr := range s.addrs {
			if err := n.WaitNoAddr(ctx, addr); err != nil {
				return "", err
			}
		}
	}
	gone := time.Since(began)
	if err := controlplane.AwaitGone(ctx, p.cluster.Kube.CoreV1().Services("shop"), s.name); err != nil {
		return "", err
	}
	if err := p.createService(ctx, "shop", "next"); err != nil {
		return "", err
	}
	next, err := p.held(ctx, "shop", "next")
	if err == nil && !slices.Equal(next.addrs, s.addrs) {
		err = errors.New("the pool did not have the addresses back: the next Service got " + next.text())
	}
	p.Row("Service deleted, addresses off the node after", stage.Seconds(gone))
	return fmt.Sprintf("%s left %s after %s; the pool has them back, and gave them to %s", s.text(), s.holder, stage.Seconds(gone), next), err
}
