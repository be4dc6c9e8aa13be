package controlplane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"daymark/test/netns"
	"daymark/test/programs"
	"daymark/test/require"
)

// Single is one API server with its etcd on the loopback of the bed's own network
// namespace: reached by the test itself and by what it starts without netns.Host.
type Single struct {
	// Config is an administrator's, without client-side throttling.
	Config *rest.Config
	// Kubeconfig is the path of the same as a file.
	Kubeconfig string
	// Client is an administrator's client.
	Client *kubernetes.Clientset
	// APIServer and Etcd are the running commands.
	APIServer, Etcd *netns.Command

	ca     *authority
	server string
	dir    string
	flags  []string
	here   *netns.Host
}

// startTimeout bounds the start of a Single. It takes 4 to 5 seconds on an idle
// machine with 2 cores; tests share those.
const startTimeout = 90 * time.Second

// StartSingle is NewSingle for a test, which skips where the programs are not
// built. Call it once for several tests: it takes about 5 seconds. The package's
// TestMain has to call netns.RunTests.
func StartSingle(t testing.TB) *Single {
	t.Helper()
	set := Programs(t)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	return require.Value(NewSingle(ctx, netns.Test(t), set))(t)
}

// Programs is programs.Find for a test, which skips where they are not built.
func Programs(t testing.TB) programs.Set {
	t.Helper()
	set, err := programs.Find()
	if errors.Is(err, programs.ErrMissing) {
		require.Missing(t, err.Error())
	}
	require.NoError(t, err)
	return set
}

// NewSingle starts an API server and returns when it is ready. It ends with the lab.
func NewSingle(ctx context.Context, lab *netns.Lab, set programs.Set) (*Single, error) {
	here, err := lab.Here()
	if err != nil {
		return nil, err
	}
	dir, err := here.Dir()
	if err != nil {
		return nil, err
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s := &Single{ca: ca, dir: dir, here: here, server: "https://" + ports[0].String(), Kubeconfig: filepath.Join(dir, "kubeconfig")}
	if err := s.writeFiles(); err != nil {
		return nil, err
	}
	clients, peers := "http://"+ports[1].String(), "http://"+ports[2].String()
	s.Etcd = here.Command(append(slices.Clone(set.Etcd),
		"--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients, "--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)...)
	s.Etcd.Label = "etcd"
	if err := s.Etcd.Start(); err != nil {
		return nil, err
	}
	loopback := ports[0].Addr()
	s.flags = apiServer(set, apiFlags{etcd: clients, bind: loopback, port: ports[0].Port(), advertise: netip.MustParseAddr("198.18.255.1"), pki: dir})
	if err := s.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	s.Client, err = kubernetes.NewForConfig(s.Config)
	return s, err
}

// StartAPIServer starts the API server again after it was stopped or killed, on the
// same port, and returns when it is ready.
func (s *Single) StartAPIServer(ctx context.Context) error {
	s.APIServer = s.here.Command(s.flags...)
	s.APIServer.Label = "kube-apiserver"
	if err := s.APIServer.Start(); err != nil {
		return err
	}
	return awaitReady(ctx, s.APIServer, s.Config)
}

// User is a client's configuration for anybody, known by a client certificate.
func (s *Single) User(name string, groups ...string) (*rest.Config, error) {
	identity, err := s.ca.identity(name, groups...)
	return s.ca.config(s.server, identity), err
}

// As is a client's configuration for an identity, such as a ServiceAccount's.
func (s *Single) As(identity Identity) *rest.Config { return s.ca.config(s.server, identity) }

// WriteKubeconfig writes a kubeconfig for an identity and returns its path.
func (s *Single) WriteKubeconfig(identity Identity) (string, error) {
	conf, err := s.ca.kubeconfig(s.server, identity)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(s.dir, "kubeconfig-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(conf)
	return f.Name(), errors.Join(err, f.Close())
}

func (s *Single) writeFiles() error {
	admin, err := s.ca.identity("kubernetes-admin", "system:masters")
	if err != nil {
		return err
	}
	s.Config = s.ca.config(s.server, admin)
	conf, err := s.ca.kubeconfig(s.server, admin)
	if err != nil {
		return err
	}
	cert, key, err := s.ca.server([]string{"127.0.0.1", "localhost", "kubernetes"})
	if err != nil {
		return err
	}
	saKey, err := newKeyPEM()
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"kubeconfig": conf, "ca.crt": s.ca.pem, "apiserver.crt": cert, "apiserver.key": key, "sa.key": saKey,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freePorts are ports of the loopback that nothing listens on. The bed's network
// has nobody else in it who could take one in between.
func freePorts(n int) ([]netip.AddrPort, error) {
	var ports []netip.AddrPort
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return ports, nil
}
