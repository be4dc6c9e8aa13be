package bgp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"daymark/internal/bgp"
	"daymark/internal/vip"
)

// order is what a test tells the speaker on a host to do.
type order struct {
	Config *settings // for /configure; none is nil
	Addrs  []address // for /set
}

type settings struct {
	ASN                    uint32
	RouterID, Source       netip.Addr
	SourceLink, RouterLink string
	Hold, Keepalive        time.Duration
	Restart, Drain         time.Duration
	Peers                  string // a peer string: unlike bgp.Config it carries passwords
	Sources                map[string]netip.Addr
	LocalASNs              map[string]uint32
	Communities            []uint32
	LocalPref              *uint32
}

type address struct {
	Prefix netip.Prefix
	For    time.Duration // until when from now; 0 is for ever
	Route  vip.Route
}

func (s settings) config() (*bgp.Config, error) {
	peers, err := bgp.ParsePeers(s.Peers)
	for i, p := range peers {
		peers[i].Source, peers[i].LocalASN = s.Sources[p.Name()], s.LocalASNs[p.Name()]
	}
	return &bgp.Config{
		ASN: s.ASN, RouterID: s.RouterID, RouterLink: s.RouterLink, Source: s.Source, SourceLink: s.SourceLink, HoldTime: s.Hold, Keepalive: s.Keepalive,
		GracefulRestart: s.Restart, Drain: s.Drain, Peers: peers, Communities: s.Communities, LocalPref: s.LocalPref,
	}, err
}

func addresses(in []address) []vip.Address {
	var out []vip.Address
	for _, a := range in {
		v := vip.Address{Prefix: a.Prefix, Link: "lo", Route: a.Route}
		if a.For != 0 {
			v.Until = time.Now().Add(a.For)
		}
		out = append(out, v)
	}
	return out
}

// report is what the speaker on a host says of itself.
type report struct {
	Waiting bool
	Peers   []bgp.PeerState
	Events  []bgp.SessionEvent
	Heap    uint64
}

// speakerMain is the program on a node: a speaker that does what is ordered over a socket.
func speakerMain(socket string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var mu sync.Mutex
	var events []bgp.SessionEvent
	speaker := bgp.New(bgp.Options{Logger: log, Session: func(e bgp.SessionEvent) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}})
	act := func(do func(context.Context, order) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var o order
			err := json.NewDecoder(r.Body).Decode(&o)
			if err == nil {
				err = do(r.Context(), o)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/configure", act(func(ctx context.Context, o order) error {
		if o.Config == nil {
			return speaker.Configure(ctx, nil)
		}
		c, err := o.Config.config()
		if err != nil {
			return err
		}
		return speaker.Configure(ctx, c)
	}))
	mux.Handle("/set", act(func(ctx context.Context, o order) error { return speaker.Set(ctx, addresses(o.Addrs)) }))
	mux.HandleFunc("/report", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		_ = json.NewEncoder(w).Encode(report{speaker.Waiting(), speaker.Peers(), events, mem.HeapInuse})
	})
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	if err := speaker.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
