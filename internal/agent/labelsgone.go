package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"daymark/annotations"
)

// tidyAfter is how long an agent that stops in good order has to remove its own labels, and tidyAgain when another try is made
// at those of one that could not.
const (
	tidyAfter = 3 * time.Second
	tidyAgain = 30 * time.Second
)

// SetGone says which other nodes' agents for Services are gone, and to be tidied up after by this one. Their Nodes are read once, and
// once more only after such an agent was there again, or this one was relieved of it.
func (l *Labels) SetGone(nodes []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.gone, func(node string, _ time.Time) bool { return !slices.Contains(nodes, node) })
	for _, node := range nodes {
		if _, ok := l.gone[node]; !ok && node != l.cfg.Node {
			l.gone[node] = time.Now().Add(tidyAfter)
			l.poke()
		}
	}
}

// tidy removes from other Nodes what is due and returns when more will be; zero for never. It fails for itself: this node's labels
// don't wait for it.
func (l *Labels) tidy(ctx context.Context) time.Time {
	now := time.Now()
	l.mu.Lock()
	var due []string
	for _, node := range slices.Sorted(maps.Keys(l.gone)) {
		if at := l.gone[node]; !at.IsZero() && !now.Before(at) {
			due = append(due, node)
		}
	}
	taken := l.taken
	l.mu.Unlock()
	for _, node := range due {
		again := l.failed(node, l.tidyGone(ctx, node))
		l.mu.Lock()
		if _, still := l.gone[node]; still {
			l.gone[node] = again
		}
		l.mu.Unlock()
	}
	if !taken.IsZero() && !now.Before(taken) {
		again := l.failed("", l.tidyTaken(ctx))
		l.mu.Lock()
		if l.taken.Equal(taken) { // not taken anew meanwhile
			l.taken = again
		}
		l.mu.Unlock()
	}
	return l.nextTidy()
}

func (l *Labels) nextTidy() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.taken
	for _, at := range l.gone {
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// failed returns when to try again after err, zero for never.
func (l *Labels) failed(node string, err error) time.Time {
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return time.Time{}
	case apierrors.IsConflict(err):
		return time.Now().Add(time.Second) // the Node changed meanwhile
	}
	l.cfg.Logger.Warn("removing the labels of another node failed", "node", node, "err", err, "retry", tidyAgain)
	return time.Now().Add(tidyAgain)
}

// tidyGone removes the labels of Services from the Node of an agent that is gone.
func (l *Labels) tidyGone(ctx context.Context, name string) error {
	node, err := l.cfg.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading a node: %w", err)
	}
	return l.strip(ctx, node, func(key, _ string) bool { return isServiceLabel(key) })
}

// tidyTaken removes the label of the control plane from every Node that says the same as this node's.
func (l *Labels) tidyTaken(ctx context.Context) error {
	nodes, err := l.cfg.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: annotations.HasIPLabel})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	l.mu.Lock()
	mine := l.want[annotations.HasIPLabel] // as it is after the list: whoever had it by then would have taken it from this node
	l.mu.Unlock()
	for _, node := range nodes.Items {
		if node.Name == l.cfg.Node || mine == "" {
			continue
		}
		err := l.strip(ctx, &node, func(key, value string) bool { return key == annotations.HasIPLabel && value == mine })
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// strip removes the stale labels of node, in one request, unless the Node changed since it was read: its agent may be back. If that
// comes between all the same, the agent observes it and puts back what is true.
func (l *Labels) strip(ctx context.Context, node *corev1.Node, stale func(key, value string) bool) error {
	remove := make(map[string]any)
	for k, v := range node.Labels {
		if stale(k, v) {
			remove[k] = nil
		}
	}
	if len(remove) == 0 {
		return nil
	}
	l.cfg.Logger.Info("removing the labels that a dead agent left", "node", node.Name, "labels", len(remove))
	metadata := map[string]any{"labels": remove}
	if node.ResourceVersion != "" {
		metadata["resourceVersion"] = node.ResourceVersion
	}
	return l.patch(ctx, node.Name, metadata)
}
