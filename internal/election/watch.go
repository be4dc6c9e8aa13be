package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// event is something seen of leases: a whole list, or one that changed, in the order of their resourceVersions.
type event struct {
	// listed means that list holds every lease there is, as it was at some moment after sent.
	listed bool
	list   []coordinationv1.Lease
	sent   time.Time

	lease   *coordinationv1.Lease
	deleted bool
}

// watcher lists leases and then watches them, again and again: the list is read from etcd's quorum (no resourceVersion is
// given), so it contains every write answered before it was sent, and the watch goes on from it without a gap.
type watcher struct {
	leases   coordinationv1client.LeaseInterface
	selector metav1.ListOptions
	timeout  time.Duration // of the list, and of the answer to the watch's request
	longest  time.Duration // between two attempts
	log      *slog.Logger
	events   chan event
	// stale makes it start over: the loop knows of something that the watch should have told.
	stale chan struct{}

	failing bool // the last list failed; run's
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	const shortest = 20 * time.Millisecond
	delay := shortest
	for ctx.Err() == nil {
		began := time.Now()
		err := w.once(ctx)
		if time.Since(began) > w.longest {
			delay = shortest
		}
		w.log.Debug("watch of leases ended", "err", err, "retry", delay)
		if !wait(ctx, delay, nil) {
			return
		}
		delay = min(2*delay, w.longest)
	}
}

// once lists and watches until the watch ends, and says why it did.
func (w *watcher) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select { // what was asked for is done now
	case <-w.stale:
	default:
	}
	sent := time.Now()
	listing, done := context.WithTimeout(ctx, w.timeout)
	list, err := w.leases.List(listing, w.selector)
	done()
	w.note(ctx, err)
	if err != nil {
		return fmt.Errorf("listing leases: %w", err)
	}
	if !w.tell(ctx, event{listed: true, list: list.Items, sent: sent}) {
		return nil
	}
	options := w.selector
	options.ResourceVersion = list.ResourceVersion
	late := time.AfterFunc(w.timeout, cancel)
	stream, err := w.leases.Watch(ctx, options)
	if !late.Stop() && err == nil {
		err = context.DeadlineExceeded
		stream.Stop()
	}
	if err != nil {
		return fmt.Errorf("watching leases: %w", err)
	}
	defer stream.Stop()
	for {
		select {
		case e, ok := <-stream.ResultChan():
			if !ok {
				return errors.New("closed by the API server")
			}
			if err := w.pass(ctx, e); err != nil {
				return err
			}
		case <-w.stale:
			return errors.New("stale")
		case <-ctx.Done():
			return nil
		}
	}
}

// note says why leases can't be listed, once, and when they can be again: until then this node stands for nothing.
func (w *watcher) note(ctx context.Context, err error) {
	switch failing := err != nil; {
	case failing && !w.failing && ctx.Err() == nil:
		w.log.Warn("leases can't be read, trying on", "err", err)
	case !failing && w.failing:
		w.log.Info("leases can be read")
	}
	w.failing = err != nil
}

// pass hands one event of the stream on.
func (w *watcher) pass(ctx context.Context, e watch.Event) error {
	switch e.Type {
	case watch.Error:
		return fmt.Errorf("watching leases: %w", apierrors.FromObject(e.Object))
	case watch.Bookmark:
		return nil
	}
	if lease, ok := e.Object.(*coordinationv1.Lease); ok {
		w.tell(ctx, event{lease: lease, deleted: e.Type == watch.Deleted})
	}
	return nil
}

// tell gives e to the loop, or returns false when ctx ends first.
func (w *watcher) tell(ctx context.Context, e event) bool {
	select {
	case w.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
