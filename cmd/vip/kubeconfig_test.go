package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	vip "daymark/cmd/vip"
)

// apiServer listens on a loopback port with a certificate for names and addresses. It returns its port, and a kubeconfig that
// trusts it and names an address where nobody is.
func apiServer(t *testing.T, names []string, addrs ...string) (port uint16, kubeconfig string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, a := range addrs {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)

	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{
		Server:                   "https://127.0.0.1:1",
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
	config.AuthInfos["u"] = &api.AuthInfo{Token: "secret"}
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	kubeconfig = filepath.Join(t.TempDir(), "admin.conf")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(server.Listener.Addr().String()).Port(), kubeconfig
}

// ask returns the status of a request to the API server.
func ask(t *testing.T, config *rest.Config) int {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Get(config.Host + "/version")
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func restConfig(t *testing.T, c vip.Config) *rest.Config {
	t.Helper()
	c.Election.Timing.RenewDeadline = 3 * time.Second
	config, err := vip.RESTConfig(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestControlPlaneAsksItsOwnAPIServer(t *testing.T) {
	port, file := apiServer(t, []string{"kubernetes"})
	config := restConfig(t, vip.Config{
		Kubernetes:   vip.Kubernetes{File: file},
		ControlPlane: vip.ControlPlane{Enabled: true, Port: port},
	})
	if status := ask(t, config); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if config.Proxy == nil {
		t.Fatal("a proxy of the environment is asked")
	}
	if proxy, err := config.Proxy(httptest.NewRequest(http.MethodGet, config.Host, nil)); proxy != nil || err != nil {
		t.Errorf("proxy %v, %v", proxy, err)
	}
}

// A connection to an API server that vanished is found dead by the kernel: in time for another attempt to renew a lease where
// there is something to send, and within ten seconds where there is not.
func TestVanishedAPIServerIsNoticed(t *testing.T) {
	port, file := apiServer(t, []string{"kubernetes"})
	config := restConfig(t, vip.Config{Kubernetes: vip.Kubernetes{File: file}})
	conn, err := config.Dial(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct {
		name               string
		level, option, max int
	}{
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1500}, // ms, half the renew deadline
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5},            // seconds
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		var value int
		if cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), o.level, o.option) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		if value < 1 || value > o.max {
			t.Errorf("%s is %d, want at most %d", o.name, value, o.max)
		}
	}
}

func TestWithoutControlPlaneTheKubeconfigCounts(t *testing.T) {
	_, file := apiServer(t, []string{"kubernetes"})
	config := restConfig(t, vip.Config{Kubernetes: vip.Kubernetes{File: file}})
	if config.Host != "https://127.0.0.1:1" {
		t.Errorf("host %s", config.Host)
	}
}

func TestAddressReplacesTheKubeconfigs(t *testing.T) {
	_, file := apiServer(t, nil)
	config := restConfig(t, vip.Config{
		Kubernetes:   vip.Kubernetes{File: file, Address: "https://192.0.2.1:6443"},
		ControlPlane: vip.ControlPlane{Enabled: true, Port: 1},
	})
	if config.Host != "https://192.0.2.1:6443" {
		t.Errorf("host %s", config.Host)
	}
}

// What the kubeconfig names is known, whether or not it is asked: no Service may have it.
func TestEndpointIsTheKubeconfigs(t *testing.T) {
	for server, want := range map[string]string{
		"https://192.0.2.100:6443": "192.0.2.100", "192.0.2.100:6443": "192.0.2.100", "https://[2001:db8::1]:6443/prefix": "2001:db8::1",
		"https://[::ffff:192.0.2.100]": "192.0.2.100", "https://api.example.com:6443": "invalid IP",
	} {
		config := api.NewConfig()
		config.Clusters["c"] = &api.Cluster{Server: server}
		config.Contexts["x"] = &api.Context{Cluster: "c"}
		config.CurrentContext = "x"
		file := filepath.Join(t.TempDir(), "admin.conf")
		if err := clientcmd.WriteToFile(*config, file); err != nil {
			t.Fatal(err)
		}
		got := vip.Endpoint(vip.Config{
			Kubernetes: vip.Kubernetes{File: file, Address: "https://192.0.2.1:6443"}, ControlPlane: vip.ControlPlane{Enabled: true, Port: 1},
		})
		if got.String() != want {
			t.Errorf("%s: %s, want %s", server, got, want)
		}
	}
	if got := vip.Endpoint(vip.Config{Kubernetes: vip.Kubernetes{File: broken(t)}}); got.IsValid() {
		t.Errorf("a broken file: %s", got)
	}
}

func TestDetectFindsAnAddress(t *testing.T) {
	port, file := apiServer(t, []string{"elsewhere"}, "127.0.0.9", "127.0.0.1")
	config := restConfig(t, vip.Config{
		Kubernetes:   vip.Kubernetes{File: file, Detect: true},
		ControlPlane: vip.ControlPlane{Enabled: true, Port: port, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.9")}},
	})
	if want := "https://" + netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String(); config.Host != want {
		t.Errorf("host %s, want %s", config.Host, want)
	}
	if status := ask(t, config); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

func TestDetectNeverChoosesTheVIP(t *testing.T) {
	port, file := apiServer(t, []string{"elsewhere"}, "127.0.0.1")
	ctx, cancel := contextThatEndsSoon(t)
	defer cancel()
	_, err := vip.RESTConfig(ctx, vip.Config{
		Kubernetes:   vip.Kubernetes{File: file, Detect: true},
		ControlPlane: vip.ControlPlane{Enabled: true, Port: port, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
	}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "no address in the API server's certificate works") {
		t.Errorf("got %v", err)
	}
}

func TestDetectTrustsNobodyElse(t *testing.T) {
	_, file := apiServer(t, nil, "127.0.0.1")
	port, _ := apiServer(t, nil, "127.0.0.1") // another key
	ctx, cancel := contextThatEndsSoon(t)
	defer cancel()
	_, err := vip.RESTConfig(ctx, vip.Config{
		Kubernetes:   vip.Kubernetes{File: file, Detect: true},
		ControlPlane: vip.ControlPlane{Enabled: true, Port: port},
	}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("want an error about the certificate, got %v", err)
	}
}

func TestKubeconfigErrorsSayWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		kubernetes vip.Kubernetes
		want       string
	}{
		"missing file": {vip.Kubernetes{File: filepath.Join(t.TempDir(), "none")}, "none"},
		"no pod":       {vip.Kubernetes{InCluster: true}, "service account"},
		"broken file":  {vip.Kubernetes{File: broken(t)}, "reading kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := vip.RESTConfig(t.Context(), vip.Config{Kubernetes: test.kubernetes}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
}

func broken(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "admin.conf")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// contextThatEndsSoon leaves time for one attempt.
func contextThatEndsSoon(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 2*time.Second)
}
