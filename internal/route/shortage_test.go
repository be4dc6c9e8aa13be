package route_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"daymark/internal/route"
	"daymark/test/require"
)

// shortage keeps this process from opening anything, until over is called.
func shortage(t *testing.T) (over func()) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	none := unix.Rlimit{Cur: 0, Max: limit.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	over = sync.OnceFunc(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) })
	t.Cleanup(over)
	return over
}

// In a shortage of descriptors a route is taken away, and the right to another one ends. Its end makes no news.
func TestWhatFailsInAShortageIsTriedAgain(t *testing.T) {
	l := link(t, "r0")
	warned := make(require.Lines, 100)
	r := open(t, route.Config{Log: slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	require.Running(t, r.Run)
	kept, ending := addr("198.18.0.1/32", l), addr("198.18.0.2/32", l)
	ending.Until = time.Now().Add(3 * time.Second)
	set(t, r, kept, ending)
	expect(t, "198", "198.18.0.1 dev r0 proto 248", "198.18.0.2 dev r0 proto 248")

	kernel := require.Value(netlink.NewHandle(unix.NETLINK_ROUTE))(t)
	defer kernel.Close()
	there := require.Value(kernel.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: route.DefaultTable}, netlink.RT_FILTER_TABLE))(t)
	over := shortage(t)
	for _, x := range there {
		if x.Dst.IP.String() == kept.Prefix.Addr().String() {
			require.NoError(t, kernel.RouteDel(&x))
		}
	}
	<-time.After(time.Until(ending.Until.Add(500 * time.Millisecond)))
	over()
	expect(t, "198", "198.18.0.1 dev r0 proto 248")
	set(t, r)

	// That the table can't be read, that the one route can't be removed, and the former again. They were tried more often.
	told := ""
	for len(warned) > 0 {
		told += <-warned
	}
	if n := strings.Count(told, "routes not restored"); n < 2 || n > 3 {
		t.Errorf("warned %d times:\n%s", n, told)
	}
}
