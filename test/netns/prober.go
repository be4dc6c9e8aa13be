package netns

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
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
type Prober struct {
	probe Probe
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex // guards what follows
	answers []Reached
	failed  []time.Time // when lost questions were asked
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
	r := &Prober{probe: p, stop: stop, done: make(chan struct{}), changed: make(chan struct{})}
	go r.run(ctx)
	return r
}

func (r *Prober) run(ctx context.Context) {
	defer close(r.done)
	var questions sync.WaitGroup
	defer questions.Wait()
	tick := time.NewTicker(r.probe.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			questions.Go(func() { r.ask(ctx) })
		}
	}
}

func (r *Prober) ask(ctx context.Context) {
	asked := time.Now()
	limited, cancel := context.WithTimeout(ctx, r.probe.Timeout)
	defer cancel()
	by, err := r.probe.once(limited)
	if err != nil && ctx.Err() != nil {
		return // stopped, not lost
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = append(r.failed, asked)
	} else {
		r.answers = append(r.answers, Reached{Asked: asked, At: time.Now(), By: by})
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// once asks once and returns the answer.
func (p Probe) once(ctx context.Context) (string, error) {
	network, question := p.Network, ""
	switch p.Network {
	case "http":
		network, question = "tcp", "GET / HTTP/1.0\r\nHost: vip\r\n\r\n"
	case "udp":
		question = "?"
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
	if p.Network == "udp" {
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		return string(buf[:n]), err
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
			return Reached{}, fmt.Errorf("waiting for an answer from %s to %s: %w", r.probe.To, r.probe.From.name, ctx.Err())
		}
	}
}

// Stop ends the asking. The report stays.
func (r *Prober) Stop() {
	r.stop()
	<-r.done
}

// Outage is what a client went through between two moments.
type Outage struct {
	Answered, Lost int
	// Longest is the longest time from an answer to the next, or from the first
	// moment to the first answer, or from the last answer to the last moment. Without
	// an outage it is about the probe's period.
	Longest time.Duration
	// From is when the longest outage began.
	From time.Time
	By   []string // who answered, sorted
}

func (o Outage) String() string {
	return fmt.Sprintf("unanswered for %s, %d answered, %d lost, by %s", o.Longest.Round(time.Millisecond), o.Answered, o.Lost, strings.Join(o.By, " "))
}

// Report sums up what was asked from the first moment up to the second.
func (r *Prober) Report(from, to time.Time) Outage {
	r.mu.Lock()
	answers := slices.Clone(r.answers)
	failed := slices.Clone(r.failed)
	r.mu.Unlock()
	return Summarize(answers, failed, from, to)
}

// Summarize is the sum of answers and of the moments at which questions were asked
// that stayed unanswered, in any order.
func Summarize(answers []Reached, failed []time.Time, from, to time.Time) Outage {
	out := Outage{From: from}
	answers = slices.Clone(answers)
	slices.SortFunc(answers, func(a, b Reached) int { return a.At.Compare(b.At) })
	last := from
	consider := func(at time.Time) {
		if at.Sub(last) > out.Longest {
			out.Longest, out.From = at.Sub(last), last
		}
		last = at
	}
	for _, a := range answers {
		if a.At.Before(from) || !a.At.Before(to) {
			continue
		}
		out.Answered++
		out.By = append(out.By, a.By)
		consider(a.At)
	}
	consider(to)
	for _, at := range failed {
		if !at.Before(from) && at.Before(to) {
			out.Lost++
		}
	}
	slices.Sort(out.By)
	out.By = slices.Compact(out.By)
	return out
}
