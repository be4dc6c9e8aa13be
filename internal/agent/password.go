package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/internal/bgp"
)

// passwordKey is the key of a Secret that holds a peer's password.
const passwordKey = "password"

// passwords returns peers with the passwords that they have in files and Secrets. One that can't be read now is as it was read last; a peer whose
// password was never read is left out, because it would only be refused. The error names what can't be read.
func (p *Peering) passwords(ctx context.Context, peers []bgp.Peer) ([]bgp.Peer, error) {
	var out []bgp.Peer
	var errs []error
	for _, peer := range peers {
		place := "file " + peer.PasswordFile
		read := func() ([]byte, error) { return os.ReadFile(peer.PasswordFile) }
		switch {
		case peer.PasswordSecret != "":
			place = "Secret " + peer.PasswordSecret
			read = func() ([]byte, error) { return p.secret(ctx, peer.PasswordSecret) }
		case peer.PasswordFile == "":
			out = append(out, peer)
			continue
		}
		text, err := read()
		text = bytes.TrimRight(text, "\r\n") // an editor's, not the password's
		if err == nil && len(text) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the password of peer %s from %s: %w", peer.Name(), place, err))
		} else {
			p.known[place] = bgp.Secret(text)
		}
		if password, ok := p.known[place]; ok {
			peer.Password = password
			out = append(out, peer)
		}
	}
	return out, errors.Join(errs...)
}

// secret reads the password in the Secret "name" or "namespace/name".
func (p *Peering) secret(ctx context.Context, name string) ([]byte, error) {
	namespace, name, ok := strings.Cut(name, "/")
	if !ok {
		namespace, name = p.cfg.Namespace, namespace
	}
	if p.cfg.Client == nil {
		return nil, errors.New("no access to the API server")
	}
	secret, err := p.cfg.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	text, ok := secret.Data[passwordKey]
	if !ok {
		return nil, fmt.Errorf("no key %q", passwordKey)
	}
	return text, nil
}
