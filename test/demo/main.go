// Command demo plays Daymark's main job on a real cluster of network namespaces: three control-plane nodes, each with its own
// etcd member, kube-apiserver, kube-proxy and vip agent, one ccm, a client and a router on a LAN. It prints a line for each
// step and a table at the end, and leaves nothing behind but what is in the user's cache folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"daymark/test/netns"
	"daymark/test/programs"
)

func main() {
	hold := flag.Bool("hold", false, "keep the cluster up at the end until Ctrl-C, and say how to reach it")
	flag.Parse()
	os.Exit(netns.Run(func() int { return inside(*hold) }, prepare, openDoor(*hold)))
}

// prepare builds what is missing. It runs outside, where there is a network.
func prepare() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := programs.Build(ctx, os.Stderr); err != nil {
		return err
	}
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	_, err = programs.BuildProduct(ctx, filepath.Join(dir, "bin"), os.Stderr)
	return err
}

// cacheDir is where the demo keeps what outlives it: programs, and the logs of a run that failed.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "daymark", "demo"), err
}

// inside runs the play in namespaces of its own and returns the exit code.
func inside(hold bool) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &play{out: os.Stdout}
	err := p.run(ctx, hold)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted")
		return 1
	}
	fmt.Fprintf(os.Stderr, "\ndemo: failed at step %q: %v\n", p.step, err)
	if logs, err := p.keepLogs(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: keeping the logs:", err)
	} else {
		fmt.Fprintln(os.Stderr, "demo: the logs are in", logs)
	}
	return 1
}

// keepLogs moves the logs from the bed's own memory to the cache folder, in the place of an earlier run's.
func (p *play) keepLogs() (string, error) {
	if p.lab == nil {
		return "", errors.New("there are none")
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "logs")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(p.lab.Logs()))
}

var discard = slog.New(slog.DiscardHandler)
