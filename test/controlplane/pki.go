package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Identity is who a client is: a certificate or a token, as kubeconfigs hold them.
type Identity struct {
	Name      string
	Cert, Key []byte // PEM
	Token     string
}

// authority signs servers' and clients' certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// validity is how long certificates are good: longer than any bed lives, from a
// little before now.
const validity = 30 * 24 * time.Hour

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &authority{key: key}
	template := template("kubernetes")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority: %w", err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	ca.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return ca, nil
}

func template(name string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetInt64(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// server issues a certificate for the names, addresses or DNS names.
func (ca *authority) server(names []string) (cert, key []byte, err error) {
	t := template("kube-apiserver")
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return ca.sign(t)
}

// identity issues a client certificate.
func (ca *authority) identity(name string, groups ...string) (Identity, error) {
	t := template(name, groups...)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key, err := ca.sign(t)
	return Identity{Name: name, Cert: cert, Key: key}, err
}

func (ca *authority) sign(t *x509.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, private.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing certificate of %s: %w", t.Subject.CommonName, err)
	}
	key, err = keyPEM(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, err
}

func newKeyPEM() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return keyPEM(key)
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// config is a client's configuration without client-side throttling, which would
// be measured instead of the thing tested.
func (ca *authority) config(server string, as Identity) *rest.Config {
	return &rest.Config{
		Host:        server,
		BearerToken: as.Token,
		QPS:         -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: ca.pem, CertData: as.Cert, KeyData: as.Key,
		},
	}
}

func (ca *authority) kubeconfig(server string, as Identity) ([]byte, error) {
	const name = "bed"
	return clientcmd.Write(clientcmdapi.Config{
		CurrentContext: name,
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, CertificateAuthorityData: ca.pem}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: as.Name}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{as.Name: {
			ClientCertificateData: as.Cert, ClientKeyData: as.Key, Token: as.Token,
		}},
	})
}
