package election

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

// Config is what Lease and Members have in common.
type Config struct {
	// Namespace holds the leases.
	Namespace string
	// Identity is this node's name: the holderIdentity of its leases, and what Claim.Nodes lists.
	Identity string
	// Host tells the network stack that this process works on from all others; see [HostID]. A process continues what another
	// one of the same identity held on the same host, and waits for the end of what one held elsewhere. Empty is unknown: it
	// always waits.
	Host string
	// Lock may be nil, or [LockHost]: it is called with the lease's name when an elector runs. While another process has the
	// lock, that one is no predecessor but alive, and this one waits like everybody else.
	Lock func(name string) (unlock func(), err error)
	Timing
	// Pace is shared by the electors of one process; nil is one of this elector's own.
	Pace *Pace
	// Client must not limit its rate; see [NewClient].
	Client coordinationv1client.LeasesGetter
	// Log must be set.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics

	gate   func()             // called whenever an elector's loop goes on; a test freezes a process there
	parts  int                // bounds what a member lists, if it is not zero; a test has no room for mostParts
	missed func(claim string) // called for a claim that was wrongly left alone; a test sees that none is
}

func (c Config) thaw() {
	if c.gate != nil {
		c.gate()
	}
}

// mostParts returns how many parts a member lists at most.
func (c Config) mostParts() int { return cmp.Or(c.parts, mostParts) }

func (c Config) validate() error {
	errs := []error{c.Timing.Validate()}
	for _, s := range []struct{ key, value string }{{"namespace", c.Namespace}, {"identity", c.Identity}} {
		if s.value == "" {
			errs = append(errs, fmt.Errorf("%s: must not be empty", s.key))
		}
	}
	if c.Client == nil || c.Log == nil {
		errs = append(errs, errors.New("client and log: must be set"))
	}
	return errors.Join(errs...)
}

// NewClient returns a client for leases made from cfg, which it does not change: with no limit of its own on the rate of
// requests, and over HTTP/1.1, where giving up a request closes its connection. Over HTTP/2 every later request would go
// into the same dead connection until its ping times out, 45 seconds later. Where the API server asks for a delay it says so at
// once instead of waiting.
func NewClient(cfg *rest.Config) (coordinationv1client.LeasesGetter, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst, cfg.RateLimiter = -1, 0, nil
	cfg.NextProtos = []string{"http/1.1"}
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return outspoken{rt} })
	cfg.Timeout = 0 // each request carries a deadline, and a watch none
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("making an HTTP client for leases: %w", err)
	}
	c, err := coordinationv1client.NewForConfigAndClient(cfg, hc)
	if err != nil {
		return nil, fmt.Errorf("making a client for leases: %w", err)
	}
	return c, nil
}

// HostID returns a name for the network stack that this process works on: the kernel's boot and the network namespace. Two
// processes with the same one see the same addresses, and share the kernel's fence.
func HostID() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	var ns syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &ns); err != nil {
		return "", fmt.Errorf("reading the network namespace: %w", err)
	}
	return fmt.Sprintf("%s.%d", strings.TrimSpace(string(boot)), ns.Ino), nil
}

// LockHost takes the lock of that name on this network stack, for one process at a time: an abstract socket, which the
// kernel frees when its process ends, however that comes, and which another mount or process namespace does not hide.
func LockHost(name string) (unlock func(), err error) {
	l, err := net.Listen("unix", "@daymark/"+name)
	if err != nil {
		return nil, fmt.Errorf("locking %s on this host: %w", name, err)
	}
	return func() { _ = l.Close() }, nil
}

// lock takes the lock of lease for as long as an elector runs, and reports whether this process is alone with it.
func (c Config) lock(lease string) (unlock func(), alone bool) {
	if c.Lock == nil {
		return func() {}, true
	}
	unlock, err := c.Lock(lease + "/" + c.Identity)
	if err != nil {
		c.Log.Error("another process on this host stands for this lease by the same name", "err", err)
		return func() {}, false
	}
	return unlock, true
}

// incarnation is one process's name in its leases: the host, a slash, and chance. It tells a process from its predecessor of
// the same identity, and from a second one that was given the same identity by mistake.
type incarnation string

func newIncarnation(host string) incarnation {
	return incarnation(host + "/" + rand.Text()[:10])
}

// sameHost reports whether i and other work on one network stack.
func (i incarnation) sameHost(other incarnation) bool {
	a, _, ok := strings.Cut(string(i), "/")
	b, _, _ := strings.Cut(string(other), "/")
	return ok && a != "" && a == b
}
