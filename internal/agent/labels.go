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
	Logger                 *slog.Logger
}

// Labels keeps labels on this node's Node object that say what it holds. SetControlPlane and SetService return at once and
// may be called concurrently.
type Labels struct {
	cfg  LabelsConfig
	wake chan struct{}

	mu   sync.Mutex
	want map[string]string

	known map[string]string // on the Node, as far as they are ours; belongs to Run
}

// NewLabels returns Labels that write nothing before Run.
func NewLabels(cfg LabelsConfig) *Labels {
	return &Labels{cfg: cfg, wake: make(chan struct{}, 1), want: make(map[string]string)}
}

// SetControlPlane says which addresses of the control plane this node holds.
func (l *Labels) SetControlPlane(addrs []netip.Addr) { l.set(annotations.HasIPLabel, addrs) }

// SetService says which addresses of a Service this node holds.
func (l *Labels) SetService(name Name, addrs []netip.Addr) { l.set(serviceLabel(name), addrs) }

func (l *Labels) set(key string, addrs []netip.Addr) {
	value := annotations.FormatLabelAddresses(addrs)
	l.mu.Lock()
	same := l.want[key] == value
	if value == "" {
		delete(l.want, key)
	} else {
		l.want[key] = value
	}
	l.mu.Unlock()
	if same {
		return
	}
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
		select {
		case <-ctx.Done():
			return l.leave(ctx)
		case <-l.wake:
			timer.Reset(gather) // what happens together is written together
		}
	}
}

// leave removes what is there. That it can't is no reason to stop later.
func (l *Labels) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	l.mu.Lock()
	clear(l.want)
	l.mu.Unlock()
	if len(l.known) == 0 {
		return nil
	}
	if err := l.sync(ctx); err != nil {
		l.cfg.Logger.Warn("removing the node's labels failed", "node", l.cfg.Node, "err", err)
	}
	return nil
}

func (l *Labels) sync(ctx context.Context) error {
	api := l.cfg.Client.CoreV1().Nodes()
	if l.known == nil {
		node, err := api.Get(ctx, l.cfg.Node, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading the node: %w", err)
		}
		l.known = make(map[string]string)
		for k, v := range node.Labels {
			if l.ours(k) {
				l.known[k] = v
			}
		}
	}
	l.mu.Lock()
	want := maps.Clone(l.want)
	l.mu.Unlock()
	change := make(map[string]any)
	for k, v := range want {
		if l.known[k] != v {
			change[k] = v
		}
	}
	for k := range l.known {
		if _, ok := want[k]; !ok {
			change[k] = nil
		}
	}
	if len(change) == 0 {
		return nil
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": change}})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	if _, err := api.Patch(ctx, l.cfg.Node, types.MergePatchType, data, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patching the node: %w", err)
	}
	l.known = want
	return nil
}

func (l *Labels) ours(key string) bool {
	return l.cfg.ControlPlane && key == annotations.HasIPLabel || l.cfg.Services && strings.HasPrefix(key, annotations.ServiceLabelPrefix)
}

// serviceLabel returns the key for a Service. A name that is too long ends in a hash.
func serviceLabel(name Name) string {
	text := name.Name + "." + name.Namespace
	if len(text) > annotations.LabelLimit {
		sum := sha256.Sum256([]byte(text))
		text = text[:annotations.LabelLimit-11] + "-" + hex.EncodeToString(sum[:5])
	}
	return annotations.ServiceLabelPrefix + text
}
