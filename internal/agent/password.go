package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"daymark/internal/bgp"
)

// passwordKey is the key of a Secret that holds a peer's password.
const passwordKey = "password"

// passwords returns peers with the passwords that they have in files and Secrets, which are watched from now on. One that can't be read now is as it
// was read last; a peer whose password was never read is left out, because it would only be refused. The error names what can't be read.
func (p *Peering) passwords(ctx context.Context, peers []bgp.Peer) ([]bgp.Peer, error) {
	var paths, names []string
	for _, peer := range peers {
		switch {
		case peer.PasswordSecret != "":
			names = append(names, p.secretName(peer.PasswordSecret))
		case peer.PasswordFile != "":
			paths = append(paths, peer.PasswordFile)
		}
	}
	// Watched before they are read, so that no change in between is missed.
	errs := []error{p.watchSecrets(ctx, names), p.files.watch(paths)}
	var out []bgp.Peer
	for _, peer := range peers {
		place := "file " + peer.PasswordFile
		read := func() ([]byte, error) { return os.ReadFile(peer.PasswordFile) }
		switch {
		case peer.PasswordSecret != "":
			place = "Secret " + p.secretName(peer.PasswordSecret)
			read = func() ([]byte, error) { return p.secrets[p.secretName(peer.PasswordSecret)].read() }
		case peer.PasswordFile == "":
			out = append(out, peer)
			continue
		}
		text, err := read()
		text = bytes.TrimRight(text, "\r\n") // an editor's, not the password's
		if err == nil && len(text) == 0 {
			err = errors.New("it is empty")
		}
		switch {
		case err == nil:
			p.known[place] = bgp.Secret(text)
		case !errors.Is(err, errSecretNotRead):
			errs = append(errs, fmt.Errorf("reading the password of peer %s from %s: %w", peer.Name(), place, err))
		}
		if password, ok := p.known[place]; ok {
			peer.Password = password
			out = append(out, peer)
		}
	}
	return out, errors.Join(errs...)
}

// secretName returns "namespace/name" of a Secret, in the agent's own namespace unless said otherwise.
func (p *Peering) secretName(text string) string {
	if strings.Contains(text, "/") {
		return text
	}
	return p.cfg.Namespace + "/" + text
}

// errSecretNotRead is before the first answer of the API server.
const errSecretNotRead = sentinel("not read yet")

// secretWatch follows one Secret.
type secretWatch struct {
	informer cache.SharedIndexInformer
	name     string
	stop     context.CancelFunc

	mu  sync.Mutex // guards err
	err error      // why nothing was read yet
}

// watchSecrets watches each of the Secrets, and no others.
func (p *Peering) watchSecrets(ctx context.Context, names []string) error {
	for name, w := range p.secrets {
		if !slices.Contains(names, name) {
			w.stop()
			delete(p.secrets, name)
		}
	}
	for _, name := range names {
		if p.secrets[name] != nil {
			continue
		}
		w, err := p.watchSecret(ctx, name)
		if err != nil {
			return fmt.Errorf("watching Secret %s: %w", name, err)
		}
		p.secrets[name] = w
	}
	return nil
}

func (p *Peering) watchSecret(ctx context.Context, full string) (*secretWatch, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &secretWatch{name: full, stop: stop}
	if p.cfg.Client == nil {
		w.err = errors.New("no access to the API server")
		return w, nil
	}
	namespace, name, _ := strings.Cut(full, "/")
	secrets := p.cfg.Client.CoreV1().Secrets(namespace)
	w.informer = single(p.cfg.Client, name, &corev1.Secret{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return secrets.List(ctx, o) },
		func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return secrets.Watch(ctx, o) })
	note := func(err error) {
		if err != nil && w.informer.HasSynced() {
			return // what was read last counts while the API server is away
		}
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	_, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { note(nil) }, UpdateFunc: func(any, any) { note(nil) }, DeleteFunc: func(any) { note(nil) },
	})
	err = errors.Join(err, w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { note(err) }))
	if err != nil {
		stop()
		return nil, err
	}
	p.tasks.Go(func() error {
		untilEnd(ctx, func() { w.informer.RunWithContext(ctx) })
		return nil
	})
	p.tasks.Go(func() error {
		if cache.WaitForCacheSync(ctx.Done(), w.informer.HasSynced) {
			note(nil) // also where there is no such Secret
		}
		return nil
	})
	return w, nil
}

// read returns the password as the API server said last.
func (w *secretWatch) read() ([]byte, error) {
	w.mu.Lock()
	err := w.err
	w.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case !w.informer.HasSynced():
		return nil, errSecretNotRead
	}
	obj, exists, err := w.informer.GetStore().GetByKey(w.name)
	if err != nil {
		return nil, err
	}
	secret, ok := obj.(*corev1.Secret)
	if !exists || !ok {
		return nil, errors.New("there is none")
	}
	text, ok := secret.Data[passwordKey]
	if !ok {
		return nil, fmt.Errorf("no key %q", passwordKey)
	}
	return text, nil
}
