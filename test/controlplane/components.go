package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"daymark/test/netns"
)

// StartAPIServer starts the node's API server. Ready waits for it.
func (n *Node) StartAPIServer(context.Context) error {
	n.APIServer = n.Command(append(apiServer(n.cluster.cfg.Programs, apiFlags{
		etcd: etcdClients, bind: netip.IPv6Unspecified(), port: APIPort, advertise: n.Addr(), pki: pkiDir,
	}), n.cluster.cfg.APIServer...)...)
	n.APIServer.Label = "kube-apiserver"
	return n.APIServer.Start()
}

// Ready returns when the node's API server says that it is ready.
func (n *Node) Ready(ctx context.Context) error {
	admin, err := n.cluster.Admin()
	if err != nil {
		return err
	}
	return awaitReady(ctx, n.APIServer, n.cluster.Config(n.Host, n.Addr(), admin))
}

// StartProxy starts the node's kube-proxy in nftables mode, which talks to the
// node's own API server, or to the first node's on a worker.
func (n *Node) StartProxy(ctx context.Context) error {
	set := n.cluster.cfg.Programs
	if set.Proxy == nil {
		return errors.New("no kube-proxy")
	}
	server := n.Addr()
	if n.APIServer == nil {
		server = n.cluster.Nodes()[0].Addr()
	}
	identity, err := n.cluster.User("system:kube-proxy")
	if err != nil {
		return err
	}
	conf, err := n.cluster.Kubeconfig(server, identity)
	if err != nil {
		return err
	}
	if err := errors.Join(
		n.WriteFile(proxyKubeconfig, conf),
		n.WriteFile(proxyConfig, fmt.Appendf(nil, proxyTemplate, n.Name(), proxyKubeconfig, join(PodCIDRs))),
	); err != nil {
		return err
	}
	n.Proxy = n.Command(append(slices.Clone(set.Proxy), "--config="+proxyConfig)...)
	n.Proxy.Label = "kube-proxy"
	if err := n.Proxy.Start(); err != nil {
		return err
	}
	return awaitHTTP(ctx, n.Proxy, httpClient(n.Host), "http://127.0.0.1:10256/healthz")
}

const (
	proxyKubeconfig = "/etc/kubernetes/kube-proxy.conf"
	proxyConfig     = "/etc/kubernetes/kube-proxy.yaml"
)

// proxyTemplate leaves alone what is the machine's own, not the namespace's
// (conntrack's sizes, the process's OOM score), and is quicker than the default of a
// second to do as it is told.
const proxyTemplate = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: %s
clientConnection: {kubeconfig: %s, qps: 50, burst: 100}
clusterCIDR: %s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
oomScoreAdj: 0
nftables: {minSyncPeriod: 100ms}
nodePortAddresses: [primary]
`

func awaitReady(ctx context.Context, server *netns.Command, cfg *rest.Config) error {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return awaitHTTP(ctx, server, client, cfg.Host+"/readyz")
}

// awaitHTTP returns when a GET says 200, or when the command ends.
func awaitHTTP(ctx context.Context, c *netns.Command, client *http.Client, url string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.Done():
			cancel(fmt.Errorf("%s ended: %w: see %s", c.Label, c.Err(), c.Log()))
		case <-ctx.Done():
		}
	}()
	return retry(ctx, "waiting for "+c.Label+" at "+url, func() error { return get(ctx, client, url) })
}

// retry calls try every 50 ms until it succeeds.
func retry(ctx context.Context, what string, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %w)", what, context.Cause(ctx), err)
		}
	}
}

func httpClient(from *netns.Host) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}, Timeout: time.Second}
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	_, err = do(client, request)
	return err
}

func post(ctx context.Context, client *http.Client, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return do(client, request)
}

func do(client *http.Client, request *http.Request) ([]byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return text, err
}

func join(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}
