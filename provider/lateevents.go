package provider

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
)

const (
	// mostLate Events wait at most, about 1 KB each; what comes when so many wait is sent at once, and what comes next, a Warning too, after it.
	mostLate = 1024
	// calm is how long no Event must have come before those that wait are sent as fast as the API server takes them. Until then one is sent each latePace.
	calm     = time.Second
	latePace = 100 * time.Millisecond
	// lateRetry is how long an Event that the API server could not be told of waits before it is sent again.
	lateRetry = time.Second
)

// LateEvents is a sink that sends Normal Events after the storm that they tell of: an Event costs a third of what the address itself costs
// (CPU of API server, etcd and ccm), so in a storm of Services the addresses come first. A single Event goes at once, and so does every Warning. Events have the time at which things happened, however
// late they are sent. What waits when the process ends is not sent. Safe for concurrent use.
type LateEvents struct {
	record.EventSink // where Events go
	log              *slog.Logger
	held             chan *corev1.Event

	mu   sync.Mutex
	last time.Time // when the last Normal Event came
}

// NewLateEvents returns a sink that sends to next while Run runs.
func NewLateEvents(next record.EventSink, log *slog.Logger) *LateEvents {
	return &LateEvents{EventSink: next, log: log, held: make(chan *corev1.Event, mostLate)}
}

// Create sends a Warning, and takes a Normal Event for later.
func (l *LateEvents) Create(event *corev1.Event) (*corev1.Event, error) {
	if event.Type != corev1.EventTypeNormal {
		return l.EventSink.Create(event)
	}
	l.mu.Lock()
	l.last = time.Now()
	l.mu.Unlock()
	select {
	case l.held <- event:
		return event, nil
	default:
		return l.EventSink.Create(event)
	}
}

// Run sends what waits until ctx ends.
func (l *LateEvents) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-l.held:
			l.send(ctx, event)
		}
		if !l.isCalm() {
			pause(ctx, latePace)
		}
	}
}

// send repeats what didn't reach the API server, as the framework's recorder does; what the API server rejects is logged.
func (l *LateEvents) send(ctx context.Context, event *corev1.Event) {
	for ctx.Err() == nil {
		_, err := l.EventSink.Create(event)
		var answer apierrors.APIStatus
		switch {
		case err == nil:
			return
		case errors.As(err, &answer):
			l.log.Debug("event rejected", "service", event.InvolvedObject.Namespace+"/"+event.InvolvedObject.Name, "err", err)
			return
		}
		pause(ctx, lateRetry)
	}
}

func (l *LateEvents) isCalm() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.last) >= calm
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
