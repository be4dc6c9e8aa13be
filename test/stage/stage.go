// Package stage is what the demos have in common: they play steps in namespaces of their own, print a line for each and a table of figures at the end,
// and leave nothing behind but what is in the user's cache folder; and they build a cluster with our programs on it. What is played is the demo's.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"daymark/test/netns"
	"daymark/test/programs"
)

// Stage is where a demo plays. It belongs to one goroutine.
type Stage struct {
	Out     io.Writer
	Set     programs.Set     // the control plane's programs
	Product programs.Product // ours
	Lab     *netns.Lab

	name    string
	started time.Time
	step    string // the one that is being played
	rows    [][2]string
}

// Step is one step of a play; Play returns what to print below its line.
type Step struct {
	Name string
	Play func(context.Context) (string, error)
}

// Main is a demo's main function: it builds what is missing, plays, and returns the exit code. The name is that of its folder in the cache. The prepare
// functions run before, outside of the namespaces.
func Main(name string, play func(context.Context, *Stage) error, prepare ...func() error) int {
	build := func() error { return buildAll(name) }
	return netns.Run(func() int { return inside(name, play) }, append([]func() error{build}, prepare...)...)
}

// buildAll builds what is missing. It runs outside, where there is a network.
func buildAll(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := programs.Build(ctx, os.Stderr); err != nil {
		return err
	}
	dir, err := CacheDir(name)
	if err != nil {
		return err
	}
	_, err = programs.BuildProduct(ctx, filepath.Join(dir, "bin"), os.Stderr)
	return err
}

// CacheDir is where a demo keeps what outlives it: programs, and the logs of a run that failed.
func CacheDir(name string) (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "daymark", name), err
}

// inside runs the play in namespaces of its own and returns the exit code.
func inside(name string, play func(context.Context, *Stage) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &Stage{Out: os.Stdout, name: name, started: time.Now(), step: "preparing the bed"}
	err := s.open()
	if err == nil {
		err = play(ctx, s)
		defer s.Lab.Close() // the kernel frees all of it anyway
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "\n%s: interrupted\n", name)
		return 1
	}
	fmt.Fprintf(os.Stderr, "\n%s: failed at step %q: %v\n", name, s.step, err)
	if logs, err := s.keepLogs(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: keeping the logs: %v\n", name, err)
	} else {
		fmt.Fprintf(os.Stderr, "%s: the logs are in %s\n", name, logs)
	}
	return 1
}

func (s *Stage) open() error {
	var err error
	if s.Set, err = programs.Find(); err != nil {
		return err
	}
	dir, err := CacheDir(s.name)
	if err != nil {
		return err
	}
	s.Product = programs.Product{VIP: filepath.Join(dir, "bin", "vip"), CCM: filepath.Join(dir, "bin", "ccm")}
	scratch, err := os.MkdirTemp("", "demo") // in the bed's own memory
	if err != nil {
		return err
	}
	s.Lab, err = netns.New(scratch, Discard())
	return err
}

// Discard is a logger for what nobody reads.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// keepLogs moves the logs from the bed's own memory to the cache folder, in the place of an earlier run's.
func (s *Stage) keepLogs() (string, error) {
	if s.Lab == nil {
		return "", errors.New("there are none")
	}
	dir, err := CacheDir(s.name)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "logs")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(s.Lab.Logs()))
}

// Begin names what is done until the next step, for who reads of its failure.
func (s *Stage) Begin(step string) { s.step = step }

// Play plays steps, each within a minute, and prints a line for each and the table. A step that fails ends the play.
func (s *Stage) Play(ctx context.Context, steps ...Step) error {
	for _, step := range steps {
		if err := s.one(ctx, step); err != nil {
			return err
		}
	}
	s.table()
	return nil
}

func (s *Stage) one(ctx context.Context, step Step) error {
	s.step = step.Name
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	result, err := step.Play(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%6.1f s  %s\n", time.Since(began).Seconds(), step.Name)
	for line := range strings.Lines(result) {
		fmt.Fprintf(s.Out, "          %s\n", strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// Row adds a line to the table at the end.
func (s *Stage) Row(what, figure string) { s.rows = append(s.rows, [2]string{what, figure}) }

func (s *Stage) table() {
	fmt.Fprintln(s.Out)
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	for _, r := range s.rows {
		fmt.Fprintf(w, "%s\t%s\n", r[0], r[1])
	}
	_ = w.Flush() // the terminal's loss
	fmt.Fprintf(s.Out, "\nall steps done in %.1f s\n", time.Since(s.started).Seconds())
}
