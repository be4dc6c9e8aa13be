package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Probe says what a Prober asks.
type Probe struct {
	From    *Host
	Network string         // tcp, udp or http, as for Echo
	To      netip.AddrPort // the address asked through
	Every   time.Duration  // 10 ms where zero
	Timeout time.Duration  // of one question, 1 s where zero
}

// Prober is a client that asks again and again, each time on a fresh socket and
// without waiting for the answers to earlier questions. It is safe for
// concurrent use.
//
// It shares its CPU with all that is tested, so it tells apart what the network
// did and what it did itself: it knows when it asked, and for a datagram it takes
// the moment at which the kernel had the answer.
type Prober struct {
	probe Probe
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex // guards what follows
	answers []Reached
	failed  []Missed
	open    map[int]time.Time // when the others were, by their number
	asked   int               // how many there were
	err     error             // why it could not ask at all
	changed chan struct{}
}

// Reached is one answered question.
type Reached struct {
	Asked, At time.Time
	By        string // what answered: the host's name, or the page, of an Echo
}

// StartProber asks until Stop.
func StartProber(p Probe) *Prober {
	if p.Every == 0 {
		p.Every = 10 * time.Millisecond
	}
	if p.Timeout == 0 {
		p.Timeout = time.Second
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Prober{probe: p, stop: stop, done: make(chan struct{}), open: map[int]time.Time{}, changed: make(chan struct{})}
	go r.run(ctx)
	return r
}

// run asks datagrams from one thread that stays on the host: a new thread for each would ask later than it says.
func (r *Prober) run(ctx context.Context) {
	defer close(r.done)
	var questions sync.WaitGroup
	defer questions.Wait()
	if r.probe.Network != "udp" {
		r.each(ctx, func() { questions.Go(func() { r.ask(ctx) }) })
		return
	}
	err := r.probe.From.Do(func() error {
		// A client has a machine of its own. The thread ends with this function; who is not root has no such right.
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
		r.each(ctx, func() { r.askDatagram(ctx, &questions) })
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// each calls ask each period.
func (r *Prober) each(ctx context.Context, ask func()) {
	tick := time.NewTicker(r.probe.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ask()
		}
	}
}

// ask asks once by a stream.
func (r *Prober) ask(ctx context.Context) {
	number, asked := r.begin()
	limited, cancel := context.WithDeadline(ctx, asked.Add(r.probe.Timeout))
	defer cancel()
	by, err := r.probe.once(limited)
	r.settle(ctx, number, Reached{Asked: asked, At: time.Now(), By: by}, err)
}

// askDatagram sends a question from the host that the caller's thread is on, and leaves the answer to a goroutine.
func (r *Prober) askDatagram(ctx context.Context, questions *sync.WaitGroup) {
	number, asked := r.begin()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.probe.To))
	if err == nil {
		err = errors.Join(stampReceived(conn), conn.SetReadDeadline(asked.Add(r.probe.Timeout)))
		if err == nil {
			_, err = conn.Write([]byte("?"))
		}
		if err != nil {
			_ = conn.Close()
		}
	}
	if err != nil {
		r.settle(ctx, number, Reached{Asked: asked}, err)
		return
	}
	questions.Go(func() {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
		buf, control := make([]byte, 64), make([]byte, 64)
		n, nc, _, _, err := conn.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			n, nc = 0, 0
		}
		r.settle(ctx, number, Reached{Asked: asked, At: timestamp(control[:nc]), By: string(buf[:n])}, err)
	})
}

// stampReceived makes each datagram come with the moment at which the kernel had it (SO_TIMESTAMPNS, socket(7)).
func stampReceived(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
	return errors.Join(err, failed)
}

// begin takes note of a question that is about to be asked.
func (r *Prober) begin() (number int, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	asked = time.Now()
	r.open[r.asked] = asked
	return r.asked, asked
}

// settle takes note of what came of it.
func (r *Prober) settle(ctx context.Context, number int, a Reached, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, number)
	switch {
	case err == nil:
		r.answers = append(r.answers, a)
	case ctx.Err() == nil: // else stopped, not lost
		r.failed = append(r.failed, Missed{a.Asked, err.Error()})
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// once asks once by a stream and returns the answer.
func (p Probe) once(ctx context.Context) (string, error) {
	network, question := p.Network, ""
	if p.Network == "http" {
		network, question = "tcp", "GET / HTTP/1.0\r\nHost: vip\r\n\r\n"
	}
	conn, err := p.From.Dial(ctx, network, p.To.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	if _, err := io.WriteString(conn, question); err != nil {
		return "", err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	if p.Network == "http" {
		return page(string(all))
	}
	return string(all), nil
}

// page is the body of a successful HTTP response.
func page(response string) (string, error) {
	head, body, ok := strings.Cut(response, "\r\n\r\n")
	if status := strings.SplitN(head, " ", 3); !ok || len(status) < 2 || status[1] != "200" {
		line, _, _ := strings.Cut(head, "\r\n")
		return "", fmt.Errorf("not a page: %q", line)
	}
	return body, nil
}

// Wait returns the first answer to a question asked at or after that moment which
// satisfies want, waiting for it if need be; nil wants any.
func (r *Prober) Wait(ctx context.Context, since time.Time, want func(Reached) bool) (Reached, error) {
	for {
		r.mu.Lock()
		changed := r.changed
		for _, a := range r.answers {
			if !a.Asked.Before(since) && (want == nil || want(a)) {
				r.mu.Unlock()
				return a, nil
			}
		}
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			return Reached{}, fmt.Errorf("waiting for an answer from %s to %s: %w", r.probe.To, r.probe.From.name, errors.Join(ctx.Err(), r.err))
		}
	}
}

// Stop ends the asking. The report stays.
func (r *Prober) Stop() {
	r.stop()
	<-r.done
}
