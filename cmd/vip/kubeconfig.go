package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"daymark/manifests"
)

// DefaultKubeconfig is where kubeadm puts the administrator's kubeconfig.
const DefaultKubeconfig = manifests.DefaultKubeconfig

// localName is in the certificate of every API server, and stands for the one on this node.
const localName = "kubernetes"

// RESTConfig returns how the API server is reached: by the pod's service account, or by a kubeconfig.
//
// An agent that holds the control plane's address and has a kubeconfig asks the API server of its own node, through no proxy, whatever URL
// the kubeconfig names: that URL is the address that isn't up yet. With Kubernetes.Detect it waits, until ctx ends, for
// an address that works.
func RESTConfig(ctx context.Context, c Config, log *slog.Logger) (*rest.Config, error) {
	config, local, err := kubeconfig(c)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "vip/" + Version()
	config.QPS, config.Burst = 100, 200
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.Dial = dialer(c.Election.Timing.RenewDeadline / 2)
	if local { // HTTPS_PROXY is for others
		config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	switch {
	case !local:
	case c.Kubernetes.Detect:
		host, err := detect(ctx, config, c.ControlPlane, log)
		if err != nil {
			return nil, err
		}
		config.Host = host
	default:
		config.Host = "https://" + net.JoinHostPort(localName, strconv.Itoa(int(c.ControlPlane.Port)))
	}
	return config, nil
}

// kubeconfig reads the file or the service account, and reports whether the API server of this node shall be asked.
func kubeconfig(c Config) (config *rest.Config, local bool, err error) {
	k := c.Kubernetes
	path := cmp.Or(k.File, DefaultKubeconfig)
	_, missing := os.Stat(path)
	if k.InCluster || k.File == "" && errors.Is(missing, os.ErrNotExist) {
		config, err = rest.InClusterConfig()
		switch {
		case err != nil && k.InCluster:
			return nil, false, fmt.Errorf("reading the pod's service account: %w", err)
		case err != nil:
			return nil, false, fmt.Errorf("there is neither %s nor a pod's service account: set k8s_config_file (%w)", path, err)
		}
		return config, false, nil
	}
	config, err = clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, false, fmt.Errorf("reading kubeconfig %s: %w", path, err)
	}
	if k.Address != "" {
		config.Host = k.Address
		return config, false, nil
	}
	return config, c.ControlPlane.Enabled, nil
}

// Endpoint returns the address of the API server that the kubeconfig or the service account names, whatever kubernetes_addr says. It is not
// valid where that is a name.
func Endpoint(c Config) netip.Addr {
	c.Kubernetes.Address = ""
	config, _, err := kubeconfig(c)
	if err != nil {
		return netip.Addr{}
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(server.Hostname()) // invalid for a name
	return addr.Unmap().WithZone("")
}

// dialer returns a dial function that gives up a connection whose data isn't acknowledged within patience
// (TCP_USER_TIMEOUT, tcp(7)), so that a vanished API server is noticed in time for another attempt to renew a lease. A
// connection that is silent, such as that of a watch of Services, is asked every five seconds whether it lives: where the
// API server lost its power nobody tells, and objects would go unseen for as long. The local name goes to the loopback address without a resolver, and to what the resolver says when nobody listens there.
func dialer(patience time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	const silent = 5 * time.Second
	d := net.Dialer{
		Timeout:         max(patience, time.Second),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silent, Interval: silent},
		Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(patience, time.Second).Milliseconds()))
			})
			return errors.Join(err, failed)
		},
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err == nil && host == localName {
			for _, loopback := range []string{"127.0.0.1", "::1"} {
				conn, err := d.DialContext(ctx, network, net.JoinHostPort(loopback, port))
				if err == nil {
					return conn, nil
				}
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
			}
		}
		return d.DialContext(ctx, network, address)
	}
}
