package agent_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"daymark/internal/agent"
	"daymark/internal/election"
)

// unreachable is a client of an API server that nobody listens for.
func unreachable(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://192.0.2.1", Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// A stop takes no longer because the API server has been away for minutes: what follows its objects asks rarely by then, and is asleep.
func TestStopWithoutAnAPIServer(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for name, start := range map[string]func(kubernetes.Interface) func(context.Context) error{
		"Services": func(client kubernetes.Interface) func(context.Context) error {
			h := agent.NewHolder(agent.HolderConfig{Datapath: counter{}, Logger: quiet})
			reporter := agent.NewReporter(agent.ReporterConfig{Node: "n1", Client: client, Events: &record.FakeRecorder{}, Logger: quiet})
			services := agent.NewServices(agent.ServicesConfig{
				Node: "n1", Mode: "BGP", Policy: defaultPolicy(), Client: client, Holder: h, Elector: election.NewAlways("n1", quiet), Reporter: reporter, Logger: quiet,
			})
			return func(ctx context.Context) error {
				g, ctx := errgroup.WithContext(ctx)
				g.Go(func() error { return reporter.Run(ctx) })
				g.Go(func() error { return services.Run(ctx) })
				return g.Wait()
			}
		},
		"the Node": func(client kubernetes.Interface) func(context.Context) error {
			return agent.NodeWatch{Client: client, Node: "n1", Leaving: func(string) {}}.Run
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				run, ended := start(unreachable(t)), make(chan error, 1)
				go func() { ended <- run(ctx) }()
				time.Sleep(3 * time.Minute)
				cancel()
				began := time.Now()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
				time.Sleep(2 * time.Minute) // what is asleep wakes
			})
		})
	}
}
