// Package router runs real routers on hosts of a netns.Lab, FRR and BIRD, and asks
// them what they know. It writes no configuration: tests bring theirs, in the
// router's own language.
package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"daymark/test/netns"
	"daymark/test/require"
)

const frrPrograms = "/usr/lib/frr"

// FRR is an FRR router on a host, with its own configuration, sockets and state.
type FRR struct {
	Host *netns.Host
	dir  string
	// Daemons are the running programs by name, such as "bgpd".
	Daemons map[string]*netns.Command
}

// RequireFRR ends the test where FRR is not installed.
func RequireFRR(t testing.TB) {
	t.Helper()
	if !HaveFRR() {
		require.Missing(t, "frr is not installed: `make test-deps` installs it")
	}
	require.Tool(t, "vtysh")
}

// HaveFRR says whether FRR is installed.
func HaveFRR() bool {
	_, err := os.Stat(frrPrograms + "/bgpd")
	return err == nil
}

// StartFRR runs zebra, staticd, bfdd and bgpd with one configuration and returns
// when all take commands. The host forwards.
func StartFRR(ctx context.Context, host *netns.Host, config string) (*FRR, error) {
	dir, err := host.Dir()
	if err != nil {
		return nil, err
	}
	f := &FRR{Host: host, dir: filepath.Join(dir, "frr"), Daemons: map[string]*netns.Command{}}
	file := filepath.Join(f.dir, "frr.conf")
	if err := errors.Join(
		os.MkdirAll(f.dir, 0o755),
		os.WriteFile(file, []byte("frr defaults datacenter\n"+config), 0o644),
		host.Forward(),
		// FRR runs as a user only if that is in the group of its terminals. In a user
		// namespace root is the only user there is.
		host.WriteFile("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\n")),
		host.WriteFile("/etc/group", []byte("root:x:0:\nfrrvty:x:0:root\n")),
	); err != nil {
		return nil, fmt.Errorf("preparing FRR on %s: %w", host.Name(), err)
	}
	for _, daemon := range []string{"zebra", "staticd", "bfdd", "bgpd"} {
		c := host.Command(filepath.Join(frrPrograms, daemon), "-f", file, "-i", filepath.Join(f.dir, daemon+".pid"),
			"-z", filepath.Join(f.dir, "zserv.api"), "--vty_socket", f.dir, "-u", "root", "-g", "root", "-A", "127.0.0.1", "--log", "stdout")
		if daemon == "bfdd" {
			c.Args = append(c.Args, "--bfdctl", filepath.Join(f.dir, "bfdd.sock"))
		}
		if err := c.Start(); err != nil {
			return nil, err
		}
		f.Daemons[daemon] = c
		if err := awaitSocket(ctx, c, filepath.Join(f.dir, daemon+".vty")); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Run gives the router commands, as its terminal takes them, and returns its answer.
func (f *FRR) Run(ctx context.Context, commands ...string) (string, error) {
	args := []string{"vtysh", "--vty_socket", f.dir}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := f.Host.Run(ctx, args...)
	return string(out), err
}

// Configure changes the running configuration by lines of it, outermost first.
func (f *FRR) Configure(ctx context.Context, lines ...string) error {
	_, err := f.Run(ctx, append([]string{"configure terminal"}, lines...)...)
	return err
}

// Show reads the answer to a command that answers in JSON, such as
// "show bgp summary json".
func (f *FRR) Show(ctx context.Context, command string, into any) error {
	out, err := f.Run(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("decoding the answer to %q: %w: %s", command, err, out)
	}
	return nil
}

// awaitSocket returns when a program listens on a socket, which no event tells.
func awaitSocket(ctx context.Context, c *netns.Command, path string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.Done():
			text, _ := os.ReadFile(c.Log()) // for the report only
			return fmt.Errorf("%s ended: %w: %s", c.Label, c.Err(), text)
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", c.Label, ctx.Err())
		}
	}
}

// Freeze stops every daemon of the router with SIGSTOP; its kernel goes on
// forwarding.
func (f *FRR) Freeze() error { return f.signal(syscall.SIGSTOP) }

// Thaw lets them go on.
func (f *FRR) Thaw() error { return f.signal(syscall.SIGCONT) }

func (f *FRR) signal(sig syscall.Signal) error {
	var errs []error
	for _, c := range f.Daemons {
		errs = append(errs, c.Signal(sig))
	}
	return errors.Join(errs...)
}
