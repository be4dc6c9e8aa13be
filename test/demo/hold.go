package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"daymark/test/controlplane"
	"daymark/test/stage"
)

// doorKey names the environment variable that tells the inner process which port of the machine's loopback leads to the VIP.
const doorKey = "DAYMARK_DEMO_DOOR"

// socketPath is where the outer process finds the inner one: namespaces part networks, not files.
func socketPath() (string, error) {
	dir, err := stage.CacheDir("demo")
	return filepath.Join(dir, "vip.sock"), err
}

// openDoor returns what opens a port on the machine's loopback, in the outer process, for as long as that lives: whoever connects is led
// through the inner process to the VIP. It does nothing without hold.
func openDoor(hold bool) func() error {
	return func() error {
		if !hold {
			return nil
		}
		socket, err := socketPath()
		if err != nil {
			return err
		}
		door, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go serve(door, func() (net.Conn, error) { return net.Dial("unix", socket) }) // ends with the process
		return os.Setenv(doorKey, door.Addr().String())
	}
}

// hold keeps the cluster up until ctx ends, and says how to reach it from outside.
func (p *play) hold(ctx context.Context) error {
	socket, err := socketPath()
	if err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	inner, err := net.Listen("unix", socket) // removed when it is closed
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = inner.Close() })()
	conf, err := p.writeKubeconfig()
	if err != nil {
		return err
	}
	defer os.Remove(conf)
	fmt.Fprintf(p.Out, "\nthe cluster stays up until Ctrl-C; through its VIP:\n  export KUBECONFIG=%s\n", conf)
	serve(inner, func() (net.Conn, error) {
		return p.client.Dial(ctx, "tcp", netip.AddrPortFrom(p.vip, controlplane.APIPort).String())
	})
	return nil
}

// writeKubeconfig writes an administrator's kubeconfig for the door.
func (p *play) writeKubeconfig() (string, error) {
	admin, err := p.cluster.Admin()
	if err != nil {
		return "", err
	}
	conf, err := p.cluster.KubeconfigAt("https://"+os.Getenv(doorKey), admin)
	if err != nil {
		return "", err
	}
	dir, err := stage.CacheDir("demo")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kubeconfig")
	return path, os.WriteFile(path, conf, 0o600)
}

// serve leads each connection to one that dial makes, until the listener is closed.
func serve(l net.Listener, dial func() (net.Conn, error)) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to, err := dial()
			if err != nil {
				return // the client sees its connection closed
			}
			defer to.Close()
			go func() {
				_, _ = io.Copy(to, from) // ends when either side closes
				_ = to.Close()
			}()
			_, _ = io.Copy(from, to)
		}()
	}
}
