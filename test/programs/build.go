package programs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build builds what Find misses and returns the whole set. It tells w what it does,
// every few seconds. Only one process builds at a time; others wait for it and take
// its result. It needs the go command and, the first time, the network.
func Build(ctx context.Context, w io.Writer) (Set, error) {
	set, err := Find()
	if !errors.Is(err, ErrMissing) {
		return set, err
	}
	p, err := locate()
	if err != nil {
		return Set{}, err
	}
	unlock, err := p.lock(ctx, w)
	if err != nil {
		return Set{}, err
	}
	defer unlock()
	if set := p.find(); set.APIServer == nil || set.Etcd == nil {
		err = p.build(ctx, w, ".", allInOne)
	} else if set.Proxy == nil {
		err = p.build(ctx, w, "./kube-proxy", proxyOnly)
	}
	if err != nil {
		return Set{}, err
	}
	return Find()
}

// lock makes this the only process that builds into the folder. The kernel drops
// the lock with the process.
func (p place) lock(ctx context.Context, w io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(p.cache, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(p.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	report := newProgress(w)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", f.Name(), err), f.Close())
		}
		report.every("control plane: another process builds it, waiting")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}

// build compiles a command of the module into a file of the cache folder, which
// appears whole or not at all.
func (p place) build(ctx context.Context, w io.Writer, command, file string) error {
	fmt.Fprintf(w, "control plane: building %s, kept in %s; the first time this takes about 9 minutes on 2 cores\n", file, p.cache)
	start := time.Now()
	total, err := p.stale(ctx, w, command)
	if err != nil {
		return err
	}
	temporary := filepath.Join(p.cache, file+".part")
	built := 0
	report := newProgress(w)
	show := func() {
		report.every(fmt.Sprintf("control plane: %d of %d packages compiled", min(built, total), total))
	}
	// No -trimpath and no compiler flags: so built, packages come from and go to the
	// same build cache as the product's own.
	err = p.run(ctx, []string{"build", "-v", "-ldflags=-s -w", "-o", temporary, command}, nil, func(line string) {
		if !strings.HasPrefix(line, "go: ") {
			built++
		}
	}, show)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(p.cache, file)); err != nil {
		return err
	}
	fmt.Fprintf(w, "control plane: built in %s\n", time.Since(start).Round(time.Second))
	return nil
}

// stale counts the packages that the build will compile. The go command fetches the
// modules for that, which takes its time too.
func (p place) stale(ctx context.Context, w io.Writer, command string) (total int, err error) {
	report, fetched := newProgress(w), 0
	count := func(line string) {
		if line != "" {
			total++
		}
	}
	fetching := func(line string) {
		if strings.HasPrefix(line, "go: downloading") {
			fetched++
		}
	}
	err = p.run(ctx, []string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", command}, count, fetching, func() {
		report.every(fmt.Sprintf("control plane: reading sources, %d modules fetched", fetched))
	})
	return total, err
}

// run runs the go command in the module and hands over its lines as they come; tick
// is called every quarter of a second in between. None of the functions run at once.
func (p place) run(ctx context.Context, args []string, stdout, stderr func(string), tick func()) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = p.source
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	var mu sync.Mutex
	var complaints []string
	errors := func(line string) {
		if stderr != nil {
			stderr(line)
		}
		if complaints = append(complaints, line); len(complaints) > 20 {
			complaints = complaints[1:]
		}
	}
	cmd.Stdout = &lines{mu: &mu, each: stdout}
	cmd.Stderr = &lines{mu: &mu, each: errors}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	clock := time.NewTicker(250 * time.Millisecond)
	defer clock.Stop()
	for {
		select {
		case <-clock.C:
			mu.Lock()
			tick()
			mu.Unlock()
		case err := <-done:
			if err != nil {
				return fmt.Errorf("running go %q: %w:\n%s", args, err, strings.Join(complaints, "\n"))
			}
			return nil
		}
	}
}

// lines is a writer that calls each for every whole line.
type lines struct {
	mu   *sync.Mutex
	each func(string)
	rest string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	scanner := bufio.NewScanner(strings.NewReader(l.rest + string(p)))
	whole := strings.HasSuffix(string(p), "\n")
	l.rest = ""
	var pending []string
	for scanner.Scan() {
		pending = append(pending, scanner.Text())
	}
	if !whole && len(pending) > 0 {
		l.rest, pending = pending[len(pending)-1], pending[:len(pending)-1]
	}
	if l.each != nil {
		for _, line := range pending {
			l.each(line)
		}
	}
	return len(p), nil
}

// progress writes a line no more often than every 3 seconds, with the time passed.
type progress struct {
	w           io.Writer
	start, last time.Time
}

func newProgress(w io.Writer) *progress {
	now := time.Now()
	return &progress{w: w, start: now, last: now}
}

func (p *progress) every(text string) {
	if now := time.Now(); now.Sub(p.last) >= 3*time.Second {
		p.last = now
		fmt.Fprintf(p.w, "%s, %s\n", text, now.Sub(p.start).Round(time.Second))
	}
}
