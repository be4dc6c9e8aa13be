package election_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"daymark/internal/election"
)

// world is a few processes that elect through one API server, and the judge of what they hold: it knows at every moment
// who has a right, by what was applied and by the moment it ends, as the kernel would.
type world struct {
	t     *testing.T
	api   *api
	began time.Time
	log   *slog.Logger

	mu    sync.Mutex
	procs []*proc
	story []string
	// covered is until when each claim had somebody to answer for it, gap the longest time it had nobody since.
	covered map[string]time.Time
	gap     map[string]time.Duration
	moves   map[string]int
	split   []string
	sole    bool          // processes lock their host
	lasts   time.Duration // a lease
	onApply func(p *proc, rights []election.Right) error
}

// proc is one process.
type proc struct {
	w       *world
	name    string
	path    *path
	elector election.Elector
	stop    context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	frozen chan struct{} // not nil while the process is stopped

	// Of the judge, under world.mu.
	rights  []election.Right
	also    []election.Right // what is being taken away right now
	applies int
	killed  bool
	dead    bool // what it still does reaches no kernel
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, api: newAPI(), began: time.Now(), covered: map[string]time.Time{}, gap: map[string]time.Duration{},
		moves: map[string]int{}, lasts: election.DefaultTiming().LeaseDuration, log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if testing.Verbose() {
		w.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Duration("at", time.Since(w.began))
			}
			return a
		}}))
	}
	return w
}

// config is what an elector of this process is made from.
func (p *proc) config() election.Config {
	c := election.Config{
		Namespace: "kube-system", Identity: p.name, Host: "boot." + p.name, Timing: election.DefaultTiming(),
		Client: p.path, Log: p.w.log.With("node", p.name),
	}
	if p.w.sole {
		c.Lock = p.lock
	}
	c.SetGate(p.thaw)
	c.SetMissed(func(claim string) { p.w.t.Errorf("%s left %s alone, and should not have", p.name, claim) })
	return c
}

// lock is election.LockHost on the host that processes of one name share.
func (p *proc) lock(string) (func(), error) {
	p.w.mu.Lock()
	procs := slices.Clone(p.w.procs)
	p.w.mu.Unlock()
	for _, o := range procs {
		if o != p && o.name == p.name && o.runs() {
			return nil, errors.New("in use")
		}
	}
	return func() {}, nil
}

// runs reports whether p is alive, as the kernel sees it.
func (p *proc) runs() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
		return !p.killed
	}
}

// process adds a process; make makes its elector.
func (w *world) process(name string, make func(p *proc) election.Elector) *proc {
	p := &proc{w: w, name: name, path: newPath(w.api), done: newDone()}
	p.elector = make(p)
	w.mu.Lock()
	w.procs = append(w.procs, p)
	w.mu.Unlock()
	return p
}

func newDone() chan struct{} { return make(chan struct{}) }

// start runs the elector.
func (p *proc) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() {
		defer close(p.done)
		if err := p.elector.Run(ctx, p.apply); err != nil {
			p.w.t.Errorf("%s: Run: %v", p.name, err)
		}
	}()
}

// freeze is SIGSTOP: nothing of the process goes on, and its connections wait.
func (p *proc) freeze() {
	p.path.cut()
	p.pause()
}

// pause stops the process; what it is sent meanwhile waits for it.
func (p *proc) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// cont is SIGCONT.
func (p *proc) cont() {
	p.path.mend()
	p.unpause()
}

func (p *proc) unpause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// kill is SIGKILL: the process never goes on; what is in its kernel stays until its end.
func (p *proc) kill() {
	p.freeze()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.killed = true
}

func (p *proc) thaw() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// shutdown is SIGTERM, and waits for the process to end.
func (p *proc) shutdown() {
	p.stop()
	<-p.done
}

func (p *proc) apply(ctx context.Context, rights []election.Right) error {
	p.thaw()
	w := p.w
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return nil
	}
	p.applies++
	for _, r := range rights { // the margin is the kernel's, whose lifetimes end late
		if left := time.Until(r.Until); left > w.lasts-w.lasts/20 {
			w.t.Errorf("%s may hold %s for %v, to the very moment at which others take over", p.name, r.Claim, left)
		}
	}
	w.settle()
	for _, o := range w.procs { // one kernel: the whole set replaces what a killed predecessor left
		if o != p && o.name == p.name && o.killed {
			o.rights, o.also, o.dead = nil, nil, true
		}
	}
	p.also, p.rights = slices.Concat(p.rights, p.also), slices.Clone(rights)
	w.judge()
	w.note("%s: %s", p.name, text(rights, time.Now()))
	hook := w.onApply
	w.mu.Unlock()
	var err error
	if hook != nil {
		err = hook(p, rights)
	}
	p.thaw()
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return nil
	}
	w.settle()
	if err == nil {
		p.also = nil
	}
	w.judge()
	return err
}

// hook is called in every Apply, and answers it.
func (w *world) hook(hook func(p *proc, rights []election.Right) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onApply = hook
}

// forgive forgets what was seen of two holders.
func (w *world) forgive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.split = nil
}

// forgiveGaps forgets what was seen of nobody holding.
func (w *world) forgiveGaps() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.judge()
	clear(w.gap)
}

// held returns the rights that were applied last.
func (p *proc) held() []election.Right {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return slices.Clone(p.rights)
}

// applied returns how often Apply was called.
func (p *proc) applied() int {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.applies
}

func union(a, b []election.Right) []election.Right {
	out := slices.Clone(a)
	for _, r := range b {
		if !slices.ContainsFunc(a, func(o election.Right) bool { return o.Claim == r.Claim }) {
			out = append(out, r)
		}
	}
	return out
}

func live(r election.Right, now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// settle closes the books up to now: until when was each claim answered for? Needs w.mu.
func (w *world) settle() {
	now := time.Now()
	for _, p := range w.procs {
		for _, r := range union(p.rights, p.also) {
			end := now
			if !r.Until.IsZero() && r.Until.Before(now) {
				end = r.Until
			}
			for part := range strings.SplitSeq(r.Claim, ",") {
				if end.After(w.covered[part]) {
					w.covered[part] = end
				}
			}
		}
	}
}

// judge looks at who holds what right now. Needs w.mu.
func (w *world) judge() {
	now := time.Now()
	holders := map[string][]string{}
	passing := map[string]time.Time{}
	for _, p := range w.procs {
		for _, r := range slices.Concat(p.rights, p.also) { // what is being taken away is there until Apply returns
			for part := range strings.SplitSeq(r.Claim, ",") { // a claim of several parts is named by them
				switch {
				case !live(r, now):
				case r.Passing:
					passing[part] = now
				case !slices.Contains(holders[part], p.name): // two processes on one node have one kernel
					holders[part] = append(holders[part], p.name)
				}
				if c, ok := w.covered[part]; ok && live(r, now) && now.After(c) {
					w.gap[part] = max(w.gap[part], now.Sub(c))
					w.note("nobody held %s for %v", part, now.Sub(c))
				}
				if live(r, now) {
					w.covered[part] = now
				}
			}
		}
	}
	for claim, names := range holders {
		if len(names) > 1 {
			w.split = append(w.split, fmt.Sprintf("%v: %s held by %s", now.Sub(w.began), claim, strings.Join(names, " and ")))
		}
	}
}

func (w *world) note(format string, args ...any) {
	if len(w.story) < 4000 {
		w.story = append(w.story, fmt.Sprintf("%9.3fs %s", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...)))
	}
}

func text(rights []election.Right, now time.Time) string {
	var out []string
	for _, r := range rights {
		s := r.Claim
		if r.Passing {
			s += "(passing)"
		}
		if r.Failover {
			s += "(failover)"
		}
		if len(out) == 6 {
			out = append(out, fmt.Sprintf("and %d more", len(rights)-6))
			break
		}
		out = append(out, s)
	}
	if len(rights) > 0 && !rights[0].Until.IsZero() {
		out = append(out, fmt.Sprintf("for %.2fs", rights[0].Until.Sub(now).Seconds()))
	}
	return "[" + strings.Join(out, " ") + "]"
}

// holders returns who has the right to claim now, passing ones marked with a star.
func (w *world) holders(claim string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, p := range w.procs {
		for _, r := range union(p.rights, p.also) {
			if r.Claim == claim && live(r, time.Now()) {
				name := p.name
				if r.Passing {
					name += "*"
				}
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// holder returns the one node that holds claim; it fails the test when there is none or more than one.
func (w *world) holder(claim string) *proc {
	w.t.Helper()
	names := w.holders(claim)
	if len(names) != 1 {
		w.fail("%s is held by %v, want one node", claim, names)
	}
	for _, p := range w.procs {
		if p.name == names[0] && slices.ContainsFunc(p.held(), func(r election.Right) bool { return r.Claim == claim && live(r, time.Now()) }) {
			return p
		}
	}
	w.fail("%s is held by %v", claim, names)
	return nil
}

// await waits until ok, at most d, and returns how long it took.
func (w *world) await(d time.Duration, what string, ok func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > d {
			w.fail("not within %v: %s", d, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.mu.Lock()
	story := strings.Join(w.story, "\n")
	w.mu.Unlock()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), story)
}

// check fails the test if ever two held the same.
func (w *world) check() {
	w.t.Helper()
	w.mu.Lock()
	split := slices.Clone(w.split)
	w.mu.Unlock()
	if len(split) > 0 {
		w.fail("two holders at once:\n%s", strings.Join(split[:min(len(split), 5)], "\n"))
	}
}

// longest returns the longest time that claim had nobody to answer for it, up to now.
func (w *world) longest(claim string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.judge()
	gap := w.gap[claim]
	if c, ok := w.covered[claim]; ok {
		gap = max(gap, time.Since(c))
	}
	return gap
}

// end ends every process.
func (w *world) end() {
	for _, p := range w.procs {
		p.cont()
		p.path.setRefuse(nil)
		p.path.breakWatches()
		p.path.setDelay(nil)
	}
	for _, p := range w.procs {
		if p.stop != nil {
			p.shutdown()
		}
	}
	w.api.late.Wait()
}

// story runs a test in a bubble of its own time, and ends every process after it.
func story(t *testing.T, name string, tell func(w *world)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			tell(w)
			w.check()
		})
	})
}
