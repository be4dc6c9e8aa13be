package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"daymark/annotations"
)

// LabelsConfig is what [Labels] works with.
type LabelsConfig struct {
	Node   string
	Client kubernetes.Interface
	// ControlPlane and Services say which labels are this agent's: another agent on the node may have the others.
	ControlPlane, Services bool
	// Single means that one node at a time holds the control plane's addresses, so that other Nodes' labels that say so are wrong.
	Single bool
	Logger *slog.Logger
}

// Labels keeps labels on this node's Node object that say what it holds, and removes those of agents that can't do so any more from
// other Nodes. SetControlPlane, SetService, SetGone and Observe return at once and may be called concurrently.
type Labels struct {
	cfg  LabelsConfig
	wake chan struct{}

	mu   sync.Mutex // guards the fields below
	want map[string]string
	// known is what of ours is on the Node; nil until it was read. It is noted before it is written, so that whatever is observed
	// later is newer.
	known   map[string]string
	version string               // resourceVersion of the Node that was observed last
	gone    map[string]time.Time // when to tidy the Nodes of agents that are gone; zero once that is done
	taken   time.Time            // when to look for the former holder of the control plane; zero for never
}

// NewLabels returns Labels that write nothing before Run.
func NewLabels(cfg LabelsConfig) *Labels {
	return &Labels{cfg: cfg, wake: make(chan struct{}, 1), want: make(map[string]string), gone: make(map[string]time.Time)}
}

// SetControlPlane says which addresses of the control plane this node holds.
func (l *Labels) SetControlPlane(addrs []netip.Addr) { l.set(annotations.HasIPLabel, addrs) }

// SetService says which addresses of a Service this node holds.
func (l *Labels) SetService(name Name, addrs []netip.Addr) { l.set(serviceLabel(name), addrs) }

func (l *Labels) set(key string, addrs []netip.Addr) {
	value := annotations.FormatLabelAddresses(addrs)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.want[key] == value {
		return
	}
	if value == "" {
		delete(l.want, key)
	} else {
		l.want[key] = value
	}
	if key == annotations.HasIPLabel && l.cfg.Single {
		l.taken = time.Time{}
		if value != "" {
			l.taken = time.Now().Add(tidyAfter)
		}
	}
	l.poke()
}

// Observe takes in this node's Node object as it is now: what was removed by others is put back.
func (l *Labels) Observe(node *corev1.Node) {
	if node == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if node.ResourceVersion != "" && node.ResourceVersion == l.version {
		return // it is told of whenever any Node changes
	}
	l.version = node.ResourceVersion
	seen := l.oursOn(node)
	if l.known != nil && maps.Equal(l.known, seen) {
		return
	}
	l.known = seen
	l.poke()
}

func (l *Labels) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run keeps the labels until ctx ends and then removes them. What a crashed run left is removed at the start.
func (l *Labels) Run(ctx context.Context) error {
	const gather, longest = 200 * time.Millisecond, 30 * time.Second
	delay := gather
	timer := time.NewTimer(0)
	defer timer.Stop()
	others := time.NewTimer(longest)
	defer others.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.leave(ctx)
		case <-timer.C:
		}
		if err := l.sync(ctx); err != nil && ctx.Err() == nil {
			delay = min(2*delay, longest)
			l.cfg.Logger.Warn("labelling the node failed", "node", l.cfg.Node, "err", err, "retry", delay)
			timer.Reset(delay)
			continue
		}
		delay = gather
		others.Stop()
		if next := l.tidy(ctx); !next.IsZero() {
			others.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return l.leave(ctx)
		case <-l.wake:
			timer.Reset(gather) // what happens together is written together
		case <-others.C:
			timer.Reset(0)
		}
	}
}

// leave removes what is there. That it can't is no reason to stop later.
func (l *Labels) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	l.mu.Lock()
	clear(l.want)
	none := len(l.known) == 0
	l.mu.Unlock()
	if none {
		return nil
	}
	if err := l.sync(ctx); err != nil {
		l.cfg.Logger.Warn("removing the node's labels failed", "node", l.cfg.Node, "err", err)
	}
	return nil
}

// sync makes the labels of this node's Node what they should be.
func (l *Labels) sync(ctx context.Context) error {
	if err := l.read(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	change := make(map[string]any)
	for k, v := range l.want {
		if l.known[k] != v {
			change[k] = v
		}
	}
	for k := range l.known {
		if _, ok := l.want[k]; !ok {
			change[k] = nil
		}
	}
	l.known = maps.Clone(l.want)
	l.mu.Unlock()
	if len(change) == 0 {
		return nil
	}
	if err := l.patch(ctx, l.cfg.Node, map[string]any{"labels": change}); err != nil {
		l.mu.Lock()
		l.known = nil // it may have been written, or not
		l.mu.Unlock()
		return err
	}
	return nil
}

// read reads which labels of ours are on the Node, unless that is known.
func (l *Labels) read(ctx context.Context) error {
	l.mu.Lock()
	known := l.known != nil
	l.mu.Unlock()
	if known {
		return nil
	}
	node, err := l.cfg.Client.CoreV1().Nodes().Get(ctx, l.cfg.Node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the node: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = l.oursOn(node)
	}
	return nil
}

func (l *Labels) patch(ctx context.Context, node string, metadata map[string]any) error {
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	if _, err := l.cfg.Client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, data, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patching node %s: %w", node, err)
	}
	return nil
}

// oursOn returns the labels of node that agents with this one's tasks write.
func (l *Labels) oursOn(node *corev1.Node) map[string]string {
	out := make(map[string]string)
	for k, v := range node.Labels {
		if l.cfg.ControlPlane && k == annotations.HasIPLabel || l.cfg.Services && isServiceLabel(k) {
			out[k] = v
		}
	}
	return out
}

func isServiceLabel(key string) bool { return strings.HasPrefix(key, annotations.ServiceLabelPrefix) }

// serviceLabel returns the key for a Service. A name that is too long ends in a hash.
func serviceLabel(name Name) string {
	text := name.Name + "." + name.Namespace
	if len(text) > annotations.LabelLimit {
		sum := sha256.Sum256([]byte(text))
		text = text[:annotations.LabelLimit-11] + "-" + hex.EncodeToString(sum[:5])
	}
	return annotations.ServiceLabelPrefix + text
}
