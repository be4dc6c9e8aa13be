package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	vip "daymark/cmd/vip"
)

// clientCertificate returns one of that name, and its key.
func clientCertificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// whoAsks is an API server that answers with the name in the client's certificate, one request a connection, and a kubeconfig for it with
// a certificate of each name that renew is called with.
func whoAsks(t *testing.T) (kubeconfig string, renew func(name string)) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "admin.conf")
	return kubeconfig, func(name string) {
		config := api.NewConfig()
		config.Clusters["c"] = &api.Cluster{Server: server.URL, InsecureSkipTLSVerify: true}
		cert, key := clientCertificate(t, name)
		config.AuthInfos["u"] = &api.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
		config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
		config.CurrentContext = "x"
		if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
			t.Fatal(err)
		}
	}
}

// A client certificate that is renewed in the kubeconfig is used without a restart; what can't be read changes nothing.
func TestRenewedClientCertificateIsUsed(t *testing.T) {
	file, renew := whoAsks(t)
	renew("first")
	config := restConfig(t, vip.Config{Kubernetes: vip.Kubernetes{File: file}})
	var said strings.Builder
	renewal, err := vip.NewRenewal(config, file, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	asks := func() string {
		response, err := client.Get(config.Host)
		if err != nil {
			return err.Error() // with another certificate client-go ends all connections, also the one that is being made
		}
		defer response.Body.Close()
		name, err := io.ReadAll(response.Body)
		if err != nil {
			return err.Error()
		}
		return string(name)
	}
	expect := func(want string) {
		t.Helper()
		start := time.Now()
		for got := asks(); got != want; got = asks() { // client-go believes what it read for a second
			if time.Since(start) > 20*time.Second {
				t.Fatalf("asked as %q, want %q", got, want)
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	look := func() {
		t.Helper()
		if err := renewal.Look(); err != nil {
			t.Fatal(err)
		}
	}
	expect("first")
	look()
	renew("second")
	look()
	expect("second")

	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := renewal.Look(); err == nil {
		t.Error("took over a part of a kubeconfig")
	}
	expect("second")
	renew("third")
	look()
	look()
	expect("third")
	if n := strings.Count(said.String(), "client certificate renewed"); n != 2 {
		t.Errorf("said %d times that it was renewed, want 2:\n%s", n, said.String())
	}
}

func TestNoClientCertificateToFollow(t *testing.T) {
	_, file := apiServer(t, []string{"kubernetes"}) // a token
	config := restConfig(t, vip.Config{Kubernetes: vip.Kubernetes{File: file}})
	renewal, err := vip.NewRenewal(config, file, slog.New(slog.DiscardHandler))
	if err != nil || renewal.Follows() || config.CertFile != "" {
		t.Errorf("follows %v, certificate %q, %v", renewal.Follows(), config.CertFile, err)
	}
}
