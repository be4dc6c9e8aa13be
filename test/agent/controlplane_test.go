package agent_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"daymark/test/netns"
	"daymark/test/require"
)

// The order of kubeadm init: the agent is there before the API server, whose kubeconfig names the address that is not up yet. That is written
// anew as soon as the agent has read it, as by kubeadm certs renew; the client certificate that it had before has no rights.
func TestControlPlaneAddressComesUpBesideTheFirstAPIServer(t *testing.T) {
	b := newBed(t, "n1", "client")
	addr := b.lan.Addr(200)
	admin := require.Value(b.cluster.Admin())(t)
	conf := filepath.Join(t.TempDir(), "admin.conf")
	renew := readOnce(t, conf, require.Value(b.cluster.Kubeconfig(addr, require.Value(b.cluster.User("former"))(t)))(t))
	second := b.lan.Addr(199) // which only this agent knows of
	agent := b.agent(b.nodes[0], "cp_enable=true", "address="+addr.String()+","+second.String(), "kubernetes_addr=", "k8s_config_file="+conf)
	renew(require.Value(b.cluster.Kubeconfig(addr, admin))(t))
	said(t, agent, `msg="client certificate renewed"`)
	b.start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, b.nodes[0].Host.WaitAddr(ctx, addr))

	// A client of the address, from another host.
	through := require.Value(kubernetes.NewForConfig(b.cluster.Config(b.nodes[1].Host, addr, admin)))(t)
	if _, err := through.Discovery().RESTClient().Get().AbsPath("/healthz").DoRaw(ctx); err != nil {
		t.Errorf("asking through the address: %v", err)
	}

	// Kube-vip's usual installation: a static pod for the control plane and a DaemonSet for Services, on one node.
	other := b.agent(b.nodes[0], "svc_enable=true", "prometheus_server=:2113")
	web := b.lan.Addr(101)
	b.service("web", web, corev1.ServiceExternalTrafficPolicyCluster, "n1")
	require.NoError(t, b.nodes[0].Host.WaitAddr(ctx, web))
	b.service("thief", second, corev1.ServiceExternalTrafficPolicyCluster, "n1") // a probe on the wire finds nobody
	b.event(ctx, "thief", "AddressRefused", second.String()+": held by another agent on node n1")
	for range 30 { // a few renewals of each, every one of which makes a whole set true
		tick := time.NewTimer(100 * time.Millisecond)
		<-tick.C
		for _, a := range []netip.Addr{addr, second, web} {
			if !require.Value(b.nodes[0].Host.Has(a))(t) {
				t.Fatalf("%s was taken away by the other agent", a)
			}
		}
	}
	require.NoError(t, other.Stop(ctx))
	require.NoError(t, b.nodes[0].Host.WaitNoAddr(ctx, web))
	for _, a := range []netip.Addr{addr, second} {
		if !require.Value(b.nodes[0].Host.Has(a))(t) {
			t.Errorf("%s, the control plane's, went with the agent for Services", a)
		}
	}

	// The API server hangs, to which the lease is to be given back: a stop takes a while, and a second signal changes nothing.
	require.NoError(t, b.nodes[0].APIServer.Signal(unix.SIGSTOP))
	require.NoError(t, agent.Signal(unix.SIGTERM))
	said(t, agent, `msg=stopping reason="terminated signal received"`)
	require.NoError(t, agent.Signal(unix.SIGINT))
	said(t, agent, `msg="stopping already" signal=interrupt`)
	require.NoError(t, agent.Stop(ctx))
	require.NoError(t, agent.Err())
	if require.Value(b.nodes[0].Host.Has(addr))(t) {
		t.Error("the address outlives its agent")
	}
}

// readOnce makes a file of which the first reader gets a text. What it returns waits for that reader; whoever reads after it gets another one.
func readOnce(t *testing.T, path string, first []byte) (then func([]byte)) {
	t.Helper()
	require.NoError(t, unix.Mkfifo(path, 0o600))
	return func(text []byte) {
		t.Helper()
		var reader *os.File
		until(t, 20*time.Second, "somebody reads "+path, func() bool {
			var err error
			reader, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0) // fails without a reader: fifo(7)
			return err == nil
		})
		next := path + ".next"
		require.NoError(t, os.WriteFile(next, text, 0o600))
		require.NoError(t, os.Rename(next, path)) // before the first one has it all: nobody else reads the pipe
		_, err := reader.Write(first)
		require.NoError(t, errors.Join(err, reader.Close()))
	}
}

// said waits until a command's log has a text.
func said(t *testing.T, c *netns.Command, text string) {
	t.Helper()
	until(t, 20*time.Second, c.Label+" says "+text, func() bool {
		return strings.Contains(string(require.Value(os.ReadFile(c.Log()))(t)), text)
	})
}
