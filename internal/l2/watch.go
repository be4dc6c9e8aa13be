package l2

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// How long it takes until links that can't be followed are tried again: twice as long each time.
const (
	watchLeast = 100 * time.Millisecond
	watchMost  = 5 * time.Second
)

// followLinks takes in what links there are until ctx ends. A shortage that passes, as of descriptors or of room in a socket, costs no
// address: what was known of the links stays meanwhile. Only a right that this process has not got, which it won't get either, ends it.
func (a *Announcer) followLinks(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	failing := false
	for wait := watchLeast; ; wait = min(2*wait, watchMost) {
		began := time.Now()
		err := a.network.Watch(ctx, func(links []Link) {
			if failing {
				failing = false
				a.log.Info("following links again")
			}
			a.linksChanged(links)
		})
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		a.metrics.unwatched.Inc()
		if !failing {
			failing = true
			a.log.Warn("following links failed, trying on", "err", err)
		}
		if time.Since(began) > watchMost { // it worked for a while
			wait = watchLeast
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}
