package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// renewalLooks is how often a kubeconfig is read again.
const renewalLooks = time.Minute

// renewal follows the client certificate that a kubeconfig has in its text. kubeadm gives that of admin.conf a year, and renews it in place:
// an agent that went on with what it read at its start would be refused from the end of that year on, and so would those of the other nodes,
// on the same day. client-go reads a certificate again that it has from a file, and ends the connections made with the former one, within
// five minutes; so it is given one, of memory, since the agent's own file system may be read-only.
type renewal struct {
	kubeconfig string
	log        *slog.Logger
	fd         int    // of certificate and key; never closed: clients use it until the process ends
	pair       []byte // what is in it
	failing    bool
}

// renew makes rc follow the kubeconfig's client certificate. Where that can't be, the agent needs a restart after the certificate's renewal.
func (n *node) renew(rc *rest.Config) {
	r, err := newRenewal(rc, cmp.Or(n.cfg.Kubernetes.File, DefaultKubeconfig), n.log)
	switch {
	case err != nil:
		n.log.Warn("a client certificate that is renewed in the kubeconfig needs a restart", "err", err)
	case r != nil:
		n.add(r.run)
	}
}

// newRenewal makes config follow the certificate in kubeconfig; nil where config has none from there.
func newRenewal(config *rest.Config, kubeconfig string, log *slog.Logger) (*renewal, error) {
	if len(config.CertData) == 0 || len(config.KeyData) == 0 {
		return nil, nil
	}
	content := pair(config)
	fd, err := memoryFile(content)
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	if _, err := os.ReadFile(path); err != nil {
		return nil, errors.Join(fmt.Errorf("reading a file of memory: %w", err), unix.Close(fd))
	}
	config.CertFile, config.KeyFile, config.CertData, config.KeyData = path, path, nil, nil
	return &renewal{kubeconfig: kubeconfig, log: log, fd: fd, pair: content}, nil
}

// pair returns the client certificate and its key, which client-go looks for in one file as well.
func pair(config *rest.Config) []byte {
	return slices.Concat(config.CertData, []byte("\n"), config.KeyData)
}

// run follows the kubeconfig until ctx ends. One that can't be read, as while it is written, changes nothing.
func (r *renewal) run(ctx context.Context) error {
	tick := time.NewTicker(renewalLooks)
	defer tick.Stop()
	for {
		err := r.look()
		if err != nil && !r.failing {
			r.log.Warn("kubeconfig can't be followed, going on with what it had", "err", err)
		}
		r.failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look takes over the certificate that the kubeconfig has now.
func (r *renewal) look() error {
	text, err := os.ReadFile(r.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig again: %w", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		return fmt.Errorf("reading kubeconfig %s again: %w", r.kubeconfig, err)
	}
	content := pair(config)
	if bytes.Equal(content, r.pair) {
		return nil
	}
	if _, err := tls.X509KeyPair(config.CertData, config.KeyData); err != nil {
		return fmt.Errorf("reading the client certificate of %s again: %w", r.kubeconfig, err)
	}
	next, err := memoryFile(content)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(next) }()
	// At once, under the same name: nobody reads a half of it.
	if err := unix.Dup3(next, r.fd, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("taking over the client certificate: %w", err)
	}
	r.pair = content
	r.log.Info("client certificate renewed", "path", r.kubeconfig)
	return nil
}

// memoryFile returns the descriptor of a file that is nowhere but in memory (memfd_create(2)).
func memoryFile(content []byte) (fd int, err error) {
	fd, err = unix.MemfdCreate("kubeconfig", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before kernel 6.3
		fd, err = unix.MemfdCreate("kubeconfig", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("making a file of memory: %w", err)
	}
	if _, err := unix.Write(fd, content); err != nil {
		return -1, errors.Join(fmt.Errorf("writing a file of memory: %w", err), unix.Close(fd))
	}
	return fd, nil
}
