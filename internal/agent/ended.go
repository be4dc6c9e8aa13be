package agent

import (
	"context"
	"time"
)

// endsWithin bounds how long a stop waits for what client-go runs.
const endsWithin = time.Second

// untilEnd runs follow, which follows objects, and returns when that has ended, or endsWithin after ctx did. While the API server is away
// client-go sleeps for up to a minute between two attempts, and does not hear meanwhile that it is to stop (Reflector.watchList): what is
// held would be let go of only then, or not at all, since the kubelet waits for ten seconds. What is still asleep ends when it wakes, or with
// the process.
func untilEnd(ctx context.Context, follow func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		follow()
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	timer := time.NewTimer(endsWithin)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}
