package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"daymark/annotations"
	"daymark/test/controlplane"
	"daymark/test/metal"
	"daymark/test/netns"
	"daymark/test/stage"
)

// serviceAgents starts a second agent on every node, for Services, before anybody told the Nodes of their peers. That of the last asks the API itself.
func (p *play) serviceAgents(ctx context.Context) (string, error) {
	for _, n := range p.cluster.Nodes() {
		from := []string{"--annotations", annotations.EquinixPrefix}
		if n.Name() == nodeNames[len(nodeNames)-1] {
			from = []string{"--metal", "--provider-config", cloudConf}
		}
		manifest, err := n.Run(ctx, append([]string{p.Product.VIP, "manifest", "daemonset", "--services", "--bgp",
			"--prometheusHTTPServer", ":2113", "--k8sConfigPath", stage.AgentConf}, from...)...)
		if err != nil {
			return "", err
		}
		if _, err := n.RunManifest(manifest, controlplane.Run{Program: p.Product.VIP}); err != nil {
			return "", err
		}
	}
	n := p.cluster.Node(nodeNames[0])
	ready, err := p.page(ctx, n, "/readyz", "waiting for BGP annotations")
	if err != nil {
		return "", err
	}
	return "not ready: " + ready + "; the last asks the API itself (--metal)", nil
}

// page asks a node's agent for Services until a line of its answer has the text, and returns the line.
func (p *play) page(ctx context.Context, n *controlplane.Node, path, text string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}, Timeout: 2 * time.Second}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		said := get(ctx, client, "http://127.0.0.1:2113"+path)
		for line := range strings.Lines(said) {
			if strings.Contains(line, text) {
				return strings.TrimSpace(line), nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for %q on %s: %w; last: %s", text, n.Name(), ctx.Err(), said)
		}
	}
}

// get returns what was answered, or why nothing was.
func get(ctx context.Context, client *http.Client, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// startCCM applies what `ccm manifest` prints, and runs the program twice with the rights of its ServiceAccount. The Nodes have the taint with which kubelets register
// where a cloud-controller-manager is to come.
func (p *play) startCCM(ctx context.Context) (string, error) {
	began := time.Now()
	for _, name := range nodeNames {
		patch := []byte(`{"spec":{"taints":[{"key":"node.cloudprovider.kubernetes.io/uninitialized","value":"true","effect":"NoSchedule"}]}}`)
		if _, err := p.cluster.Kube.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return "", err
		}
	}
	if err := p.cluster.ApplyCCM(ctx, p.cluster.Node(nodeNames[0]), "--cloud-provider", "equinixmetal", "--cloud-config-secret", "metal-cloud-config"); err != nil {
		return "", err
	}
	for _, name := range nodeNames[1:] {
		n := p.cluster.Node(name)
		// The agents move the control plane's address here, so its controller is off.
		if err := p.cluster.StartCCM(ctx, n, n.Addr(), "--cloud-provider=equinixmetal", "--cloud-config="+cloudConf, "--controllers=*,-cloud-provider-equinix-metal"); err != nil {
			return "", err
		}
	}
	var lines []string
	for _, name := range nodeNames {
		node, err := controlplane.Await(ctx, p.cluster.Kube.CoreV1().Nodes(), name, func(n *corev1.Node) bool {
			set, err := annotations.ParseNodeBGP(annotations.EquinixPrefix, n.Annotations)
			return err == nil && len(set.Peers) == 2 && n.Spec.ProviderID != ""
		})
		if err != nil {
			return "", err
		}
		lines = append(lines, fmt.Sprintf("%s is %s, a %s", name, node.Spec.ProviderID, node.Labels[corev1.LabelInstanceTypeStable]))
	}
	if err := p.sessions(ctx, len(nodeNames)); err != nil {
		return "", err
	}
	p.Row("CCM started, every agent peers with both routers after", stage.Seconds(time.Since(began)))
	return strings.Join(append(lines, "each Node names 169.254.255.1 and .2, multihop, with a password; six sessions are up"), "\n"), nil
}

// sessions waits until each router has that many sessions.
func (p *play) sessions(ctx context.Context, want int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		up := 0
		for _, r := range p.routers {
			var summary struct {
				IPv4Unicast struct {
					Peers map[string]struct{ State string }
				}
			}
			if err := r.Show(ctx, "show bgp summary json", &summary); err != nil {
				return err
			}
			for _, peer := range summary.IPv4Unicast.Peers {
				if peer.State == "Established" {
					up++
				}
			}
		}
		if up == want*len(p.routers) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d BGP sessions, %d are up: %w", want*len(p.routers), up, ctx.Err())
		}
	}
}

// services creates Services whose pods aren't on the node that will die, and fetches a page through their addresses.
func (p *play) services(ctx context.Context) (string, error) {
	holder, err := p.assigned(ctx, nil)
	if err != nil {
		return "", err
	}
	nodes := slices.DeleteFunc(p.cluster.Nodes(), func(n *controlplane.Node) bool { return n.Name() == holder.Name() })
	var lines []string
	for _, name := range []string{"web", "shop"} {
		created := time.Now()
		if err := stage.CreateService(ctx, p.cluster.Kube, "default", name, nodes, nil); err != nil {
			return "", err
		}
		addr, err := p.address(ctx, name)
		if err != nil {
			return "", err
		}
		if !metal.Elastic.Contains(addr) {
			return "", fmt.Errorf("service %s got %s, which the project doesn't own", name, addr)
		}
		pod, after, err := stage.Page(ctx, p.net.Client, addr, created)
		if err != nil {
			return "", err
		}
		p.Row(fmt.Sprintf("Service %s created, first page after", name), stage.Seconds(after))
		lines = append(lines, fmt.Sprintf("%s has %s; its page comes from pod %s, %s after it was created", name, addr, pod, stage.Seconds(after)))
	}
	return strings.Join(lines, "\n"), nil
}

func (p *play) address(ctx context.Context, name string) (netip.Addr, error) {
	got, err := controlplane.Await(ctx, p.cluster.Kube.CoreV1().Services("default"), name, func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 1
	})
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(got.Status.LoadBalancer.Ingress[0].IP)
}

// holderDies cuts the holder off and kills everything on it, and asks for the control plane and for a Service meanwhile.
func (p *play) holderDies(ctx context.Context) (string, error) {
	web, err := p.address(ctx, "web")
	if err != nil {
		return "", err
	}
	before, err := p.assigned(ctx, nil)
	if err != nil {
		return "", err
	}
	service := netns.StartProber(netns.Probe{From: p.net.Client, Network: "http", To: netip.AddrPortFrom(web, 80)})
	defer service.Stop()
	began := time.Now()
	out, err := p.cluster.Outage(ctx, before, before.PowerOff)
	if err != nil {
		return "", err
	}
	after, err := p.assigned(ctx, before)
	if err != nil {
		return "", err
	}
	if err := p.sessions(ctx, len(nodeNames)-1); err != nil {
		return "", err
	}
	seen := service.Report(began, time.Now().Add(-time.Second))
	if _, err := p.cluster.CountNodes(ctx); err != nil {
		return "", err
	}
	p.Row("the holder died, control plane unanswered for", stage.Seconds(out.Longest))
	p.Row("the same for a Service: questions lost", fmt.Sprintf("%d of %d", seen.Lost, seen.Lost+seen.Answered))
	return fmt.Sprintf("the API assigned %s to %s instead of %s; the client was unanswered for %s\n"+
		"the routers sent a third of web's connections to the dead device until its hold time (3 s) was over: %d of %d lost\nthe vendor's API was called, in all:\n%s",
		p.eip, after.Name(), before.Name(), stage.Seconds(out.Longest), seen.Lost, seen.Lost+seen.Answered, p.calls()), nil
}

// deleteService deletes a Service: its address is withdrawn, and given back to the vendor.
func (p *play) deleteService(ctx context.Context) (string, error) {
	addr, err := p.address(ctx, "shop")
	if err != nil {
		return "", err
	}
	before := len(p.net.API.Reservations())
	began := time.Now()
	if err := p.cluster.Kube.CoreV1().Services("default").Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		return "", err
	}
	if err := controlplane.AwaitGone(ctx, p.cluster.Kube.CoreV1().Services("default"), "shop"); err != nil {
		return "", err
	}
	p.Row("Service deleted, address given back after", stage.Seconds(time.Since(began)))
	left := p.net.API.Reservations()
	for _, r := range left {
		if r.Address == addr.String() {
			err = errors.New("the project still owns " + r.Address)
		}
	}
	return fmt.Sprintf("%s is withdrawn and given back: the project owns %d addresses instead of %d", addr, len(left), before), err
}

// calls sums up what the vendor's API was asked.
func (p *play) calls() string {
	var lines []string
	all := 0
	for call, n := range p.net.API.Calls() {
		lines = append(lines, fmt.Sprintf("%4d %s", n, call))
		all += n
	}
	slices.Sort(lines)
	p.Row("calls of the vendor's API in all", fmt.Sprint(all))
	return strings.Join(lines, "\n")
}
