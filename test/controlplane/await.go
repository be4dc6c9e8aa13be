package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// Watcher is what every typed client of client-go offers, such as
// client.CoreV1().Services("default").
type Watcher[T runtime.Object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// Await returns the object of that name once it is there and want, which may be
// nil, accepts it. It follows the API server's watch, and goes on through its
// absence, until ctx ends.
func Await[T runtime.Object](ctx context.Context, from Watcher[T], name string, want func(T) bool) (T, error) {
	var found T
	err := await(ctx, from, name, func(object T, there bool) bool {
		found = object
		return there && (want == nil || want(object))
	})
	return found, err
}

// AwaitGone returns once there is no object of that name.
func AwaitGone[T runtime.Object](ctx context.Context, from Watcher[T], name string) error {
	return await(ctx, from, name, func(_ T, there bool) bool { return !there })
}

// await calls done with the object as it is and after each change.
func await[T runtime.Object](ctx context.Context, from Watcher[T], name string, done func(object T, there bool) bool) error {
	for {
		err := watchOnce(ctx, from, name, done)
		if err == nil {
			return nil
		}
		again := time.NewTimer(50 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return fmt.Errorf("waiting for %q: %w (last: %w)", name, ctx.Err(), err)
		}
	}
}

var errWatchEnded = errors.New("not yet as wanted when the watch ended")

// watchOnce looks and then watches. The watch starts first, so that no change in
// between is missed.
func watchOnce[T runtime.Object](ctx context.Context, from Watcher[T], name string, done func(object T, there bool) bool) error {
	changes, err := from.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return err
	}
	defer changes.Stop()
	object, err := from.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if done(object, err == nil) {
		return nil
	}
	for event := range changes.ResultChan() {
		object, ok := event.Object.(T)
		switch {
		case event.Type == watch.Error:
			return apierrors.FromObject(event.Object)
		case ok && done(object, event.Type != watch.Deleted):
			return nil
		}
	}
	return errWatchEnded
}
