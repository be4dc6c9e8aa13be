package datapath_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"daymark/internal/datapath"
)

// table is a routing table whose default routes can't always be read.
type table struct {
	mu      sync.Mutex
	gateway string // of the one default route; "" for none
	fails   []error
	reads   int
	said    []string
	log     bytes.Buffer
}

// Write takes what is logged.
func (r *table) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

func (r *table) say(d []datapath.Default) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprint(d))
}

// becomes changes what is there and what of it can't be read.
func (r *table) becomes(gateway string, fails []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gateway, r.fails = gateway, fails
}

func (r *table) read() ([]datapath.Default, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	switch {
	case len(r.fails) > 0:
		err := r.fails[0]
		r.fails = r.fails[1:]
		return nil, err
	case r.gateway == "":
		return nil, datapath.ErrNoDefault
	}
	return []datapath.Default{{Link: "a0", Gateway: netip.MustParseAddr(r.gateway)}}, nil
}

func times(n int, err error) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}

// What can't be read says nothing: what was known stays, the log has it, and it is read again 10 s later, or as soon as the kernel
// tells of a route.
func TestDefaultsThatCanNotBeRead(t *testing.T) {
	refused := errors.New("refused")
	interrupted := fmt.Errorf("reading: %w", netlink.ErrDumpInterrupted)
	synctest.Test(t, func(t *testing.T) {
		routes := &table{gateway: "198.18.0.254", fails: times(3, refused)}
		told := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go datapath.FollowDefaults(ctx, slog.New(slog.NewTextHandler(routes, nil)), routes.read, told, routes.say)
		began := time.Now()
		expect := func(at time.Duration, reads, warnings int, want ...string) {
			t.Helper()
			time.Sleep(time.Until(began.Add(at)))
			synctest.Wait()
			routes.mu.Lock()
			defer routes.mu.Unlock()
			if routes.reads != reads || fmt.Sprint(routes.said) != fmt.Sprint(want) {
				t.Errorf("after %v it was read %d times and said %v, want %d and %v", at, routes.reads, routes.said, reads, want)
			}
			if n := strings.Count(routes.log.String(), "level=WARN msg=\"reading the default routes failed\""); n != warnings {
				t.Errorf("after %v the log warns %d times, want %d:\n%s", at, n, warnings, &routes.log)
			}
		}
		const one, other, none = "[{a0 198.18.0.254 0}]", "[{a0 198.18.0.253 0}]", "[]"
		expect(0, 1, 1)
		expect(9*time.Second, 1, 1)
		expect(11*time.Second, 2, 2)
		expect(21*time.Second, 3, 3)
		expect(31*time.Second, 4, 3, one)
		expect(time.Hour, 4, 3, one)

		routes.becomes("198.18.0.254", times(1, refused))
		told <- struct{}{}
		expect(time.Hour, 5, 4, one)
		routes.becomes("198.18.0.253", nil)
		told <- struct{}{} // before the 10 s are over
		expect(time.Hour, 6, 4, one, other)
		expect(2*time.Hour, 6, 4, one, other)

		// Other routes changed meanwhile: read again at once, but not for ever.
		routes.becomes("198.18.0.253", times(3, interrupted))
		told <- struct{}{}
		expect(2*time.Hour, 10, 4, one, other)
		routes.becomes("", times(10, interrupted))
		told <- struct{}{}
		expect(2*time.Hour, 20, 5, one, other)
		expect(2*time.Hour+10*time.Second, 21, 5, one, other, none)
	})
}
