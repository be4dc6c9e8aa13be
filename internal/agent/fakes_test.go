package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daymark/internal/agent"
	"daymark/internal/vip"
)

// journal records what kernel and network were told, a line each time that a set changes.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what was recorded since the last call.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.lines
	j.lines = nil
	return out
}

// room is a set that tells the journal how it changes: a datapath or an announcer.
type room struct {
	name    string
	journal *journal

	mu      sync.Mutex
	set     []vip.Address
	left    []vip.Address // of a former run
	fail    error         // of each Set, which then does nothing; see breaks
	told    bool          // the journal has that fail
	refuse  netip.Addr    // can't be added
	stuck   netip.Addr    // can't be removed
	calls   int
	sweeps  int
	unswept error            // of each Sweep, which then does nothing
	changed func(vip.Change) // called for each Set
}

func (r *room) Set(_ context.Context, want []vip.Address) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if err := r.fail; err != nil {
		if !r.told {
			r.journal.note("%s fails", r.name)
		}
		r.told = true
		return err
	}
	var err error
	want = slices.DeleteFunc(slices.Clone(want), func(a vip.Address) bool {
		if a.Prefix.Addr() == r.refuse {
			err = errors.Join(err, errors.New("of another address"), &vip.AddressError{Key: a.Key(), Err: fmt.Errorf("setting %s: refused", a)})
			return true
		}
		return false
	})
	for _, a := range r.set {
		if a.Prefix.Addr() == r.stuck && !contains(want, a) {
			want = vip.Union(want, []vip.Address{a})
			err = errors.Join(err, &vip.AddressError{Key: a.Key(), Err: fmt.Errorf("removing %s: refused", a)})
		}
	}
	r.noteMarks(want)
	c := vip.Diff(r.set, want)
	for _, part := range []struct {
		verb string
		set  []vip.Address
	}{{"+", c.Add}, {"-", c.Remove}} {
		for _, a := range part.set {
			r.journal.note("%s %s%s", r.name, part.verb, a.Prefix.Addr())
		}
	}
	if r.changed != nil {
		r.changed(c)
	}
	r.set = want
	r.left = slices.DeleteFunc(r.left, func(a vip.Address) bool { return contains(want, a) })
	return err
}

// noteMarks tells the journal which announced addresses begin or cease to be leaving.
func (r *room) noteMarks(want []vip.Address) {
	for _, a := range want {
		i := slices.IndexFunc(r.set, func(b vip.Address) bool { return a.Key() == b.Key() })
		switch {
		case r.name != "wire" || i < 0 || a.Route.Leaving == r.set[i].Route.Leaving:
		case a.Route.Leaving:
			r.journal.note("%s marks %s", r.name, a.Prefix.Addr())
		default:
			r.journal.note("%s unmarks %s", r.name, a.Prefix.Addr())
		}
	}
}

// breaks makes each Set fail until it is called with nil. The journal notes the first: how often the holder tries meanwhile is
// its own affair.
func (r *room) breaks(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail, r.told = err, false
}

func contains(set []vip.Address, a vip.Address) bool {
	return slices.ContainsFunc(set, func(b vip.Address) bool { return a.Key() == b.Key() })
}

func (r *room) Held() []vip.Address {
	r.mu.Lock()
	defer r.mu.Unlock()
	return vip.Union(r.set, r.left)
}

func (r *room) Adopted() []vip.Address {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.left)
}

func (r *room) Sweep(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sweeps++; r.unswept != nil {
		return r.unswept
	}
	for _, a := range r.left {
		r.journal.note("%s swept %s", r.name, a.Prefix.Addr())
	}
	r.left = nil
	return nil
}

// change makes a room behave otherwise from now on.
func (r *room) change(how func(*room)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	how(r)
}

// count returns how often the set was set.
func (r *room) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// until returns the Until of addr in the set.
func (r *room) until(addr string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.set {
		if a.Prefix.Addr().String() == addr {
			return a.Until
		}
	}
	return time.Time{}
}

// lan answers probes: addresses in used are taken, others free after a while.
type lan struct {
	mu     sync.Mutex
	used   map[netip.Addr]bool
	hung   bool            // probes end with their context
	deaf   error           // of each Listen
	asked  int             // probes that are under way
	last   context.Context // of a probe
	probed []netip.Addr
	ears   map[vip.Key]chan agent.Said
}

func (l *lan) Probe(ctx context.Context, key vip.Key) error {
	l.mu.Lock()
	l.probed = append(l.probed, key.Addr)
	used, hung := l.used[key.Addr], l.hung
	l.asked++
	l.last = ctx
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked--
	}()
	if hung {
		<-ctx.Done()
		<-time.After(10 * time.Millisecond)
		return ctx.Err()
	}
	wait := 225 * time.Millisecond
	if used {
		wait = time.Millisecond
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	if used {
		return errors.New("used by 02:00:00:00:00:99")
	}
	return nil
}

func (l *lan) hangs(hung bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hung = hung
}

func (l *lan) deafens(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = err
}

func (l *lan) setUsed(addr string, used bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used[netip.MustParseAddr(addr)] = used
}

func (l *lan) Listen(key vip.Key) (<-chan agent.Said, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf != nil {
		return nil, nil, l.deaf
	}
	c := make(chan agent.Said, 1)
	l.ears[key] = c
	stopped := false
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if stopped {
			panic("stopped twice")
		}
		if stopped = true; l.ears[key] == c {
			delete(l.ears, key)
		}
	}, nil
}

func addr(text string) vip.Address {
	a := netip.MustParseAddr(text)
	return vip.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Link: "eth0"}
}

func want(texts ...string) []agent.Want {
	var out []agent.Want
	for _, t := range texts {
		out = append(out, agent.Want{Address: addr(t), Sure: true})
	}
	return out
}

func quietLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func text(states []agent.State) string {
	var out []string
	for _, s := range states {
		line := s.Address.Prefix.Addr().String() + " " + string(s.Phase)
		if s.Problem != "" {
			line += ": " + s.Problem
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

type netipAddr = netip.Addr

func netipMust(text string) netip.Addr { return netip.MustParseAddr(text) }

// prefixFrom returns the i-th address of first.0.0.0/8.
func prefixFrom(first byte, i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{first, 0, byte(i >> 8), byte(i)}), 32)
}
