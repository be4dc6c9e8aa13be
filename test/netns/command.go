package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program on a host, in a process group of its own, whose output
// goes to a log file. Set the fields before Start; the methods are safe for
// concurrent use after it.
type Command struct {
	// Args are the program and its arguments. A program without a slash is looked
	// up in PATH.
	Args []string
	// Env is the environment, "KEY=value" each, besides PATH, HOME and TMPDIR; the
	// caller's own is not inherited.
	Env []string
	// Label names the log file; the program's name where empty.
	Label string

	host *Host
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // valid once done is closed
}

// Command prepares a program to run on the host.
func (h *Host) Command(args ...string) *Command {
	return &Command{Args: args, host: h, done: make(chan struct{})}
}

// Start starts the program. A command is started once.
func (c *Command) Start() error {
	if c.Label == "" {
		c.Label = filepath.Base(c.Args[0])
	}
	log, err := c.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	c.cmd = exec.Command(c.Args[0], c.Args[1:]...)
	c.cmd.Env = append(baseEnv(), c.Env...)
	c.cmd.Dir = "/"
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.host.Do(c.cmd.Start); err != nil {
		return fmt.Errorf("starting %s on %s: %w", c.Label, c.host.name, err)
	}
	c.host.mu.Lock()
	c.host.commands = append(c.host.commands, c)
	c.host.mu.Unlock()
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return nil
}

// openLog makes the first log file of this label on this host that is not there.
func (c *Command) openLog() (*os.File, error) {
	for n := 1; ; n++ {
		c.log = filepath.Join(c.host.lab.Logs(), fmt.Sprintf("%s-%s-%d.log", c.host.name, c.Label, n))
		f, err := os.OpenFile(c.log, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
}

func baseEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "TMPDIR=" + os.TempDir()}
}

// Log is the path of the log file, known after Start.
func (c *Command) Log() string { return c.log }

// Pid is the process's number in the bed's pid namespace.
func (c *Command) Pid() int { return c.cmd.Process.Pid }

// Signal sends a signal to the command's process group: SIGKILL is a crash,
// SIGSTOP a freeze, SIGCONT its end. A command that has ended is not an error.
func (c *Command) Signal(sig syscall.Signal) error {
	if c.exited() {
		return nil
	}
	if err := syscall.Kill(-c.cmd.Process.Pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("sending %s to %s on %s: %w", sig, c.Label, c.host.name, err)
	}
	return nil
}

// Stop sends SIGTERM and waits for the end; when ctx ends first, it kills the
// command and says so.
func (c *Command) Stop(ctx context.Context) error {
	if err := c.Signal(unix.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		err := fmt.Errorf("%s on %s did not stop: %w", c.Label, c.host.name, ctx.Err())
		err = errors.Join(err, c.Signal(unix.SIGKILL))
		<-c.done
		return err
	}
}

// Kill sends SIGKILL and waits for the end.
func (c *Command) Kill() error {
	err := c.Signal(unix.SIGKILL)
	<-c.done
	return err
}

// Done is closed when the command has ended.
func (c *Command) Done() <-chan struct{} { return c.done }

// Err is how the command ended, nil for exit code 0. Call it after Done.
func (c *Command) Err() error { return c.err }

func (c *Command) exited() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Run runs a program on the host to its end and returns its standard output. The
// error carries what it wrote to standard error.
func (h *Host) Run(ctx context.Context, args ...string) ([]byte, error) {
	return h.RunInput(ctx, "", args...)
}

// RunInput is Run with a text for the program's standard input.
func (h *Host) RunInput(ctx context.Context, input string, args ...string) ([]byte, error) {
	cmd, stdout, stderr := commandWithBuffers(ctx, input, args)
	if err := h.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("starting %s on %s: %w", args[0], h.name, err)
	}
	if err := cmd.Wait(); err != nil {
		return stdout.Bytes(), fmt.Errorf("running %q on %s: %w: %s", args, h.name, err, stderr)
	}
	return stdout.Bytes(), nil
}

func commandWithBuffers(ctx context.Context, input string, args []string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = baseEnv()
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), stdout, stderr
	return cmd, stdout, stderr
}
