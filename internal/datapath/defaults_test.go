package datapath_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"daymark/internal/datapath"
)

// table is a routing table whose default routes can't always be read.
type table struct {
	gateway string // of the one default route; "" for none
	fails   []error
	reads   int
}

func (r *table) read() ([]datapath.Default, error) {
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
		var log bytes.Buffer
		var said []string
		routes := &table{gateway: "198.18.0.254", fails: times(3, refused)}
		told := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go datapath.FollowDefaults(ctx, slog.New(slog.NewTextHandler(&log, nil)), routes.read, told, func(d []datapath.Default) {
			said = append(said, fmt.Sprint(d))
		})
		began := time.Now()
		expect := func(at time.Duration, reads, warnings int, want ...string) {
			t.Helper()
			time.Sleep(time.Until(began.Add(at)))
			synctest.Wait()
			if routes.reads != reads || fmt.Sprint(said) != fmt.Sprint(want) {
				t.Errorf("after %v it was read %d times and said %v, want %d and %v", at, routes.reads, said, reads, want)
			}
			if n := strings.Count(log.String(), "level=WARN msg=\"reading the default routes failed\""); n != warnings {
				t.Errorf("after %v the log warns %d times, want %d:\n%s", at, n, warnings, &log)
			}
		}
		const one, other, none = "[{a0 198.18.0.254 0}]", "[{a0 198.18.0.253 0}]", "[]"
		expect(0, 1, 1)
		expect(9*time.Second, 1, 1)
		expect(11*time.Second, 2, 2)
		expect(21*time.Second, 3, 3)
		expect(31*time.Second, 4, 3, one)
		expect(time.Hour, 4, 3, one)

		routes.fails = times(1, refused)
		told <- struct{}{}
		expect(time.Hour, 5, 4, one)
		routes.gateway = "198.18.0.253"
		told <- struct{}{} // before the 10 s are over
		expect(time.Hour, 6, 4, one, other)
		expect(2*time.Hour, 6, 4, one, other)

		// Other routes changed meanwhile: read again at once, but not for ever.
		routes.fails = times(3, interrupted)
		told <- struct{}{}
		expect(2*time.Hour, 10, 4, one, other)
		routes.fails, routes.gateway = times(10, interrupted), ""
		told <- struct{}{}
		expect(2*time.Hour, 20, 5, one, other)
		expect(2*time.Hour+10*time.Second, 21, 5, one, other, none)
	})
}
