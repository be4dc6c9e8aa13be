package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

// NodeBGPController is the name for --controllers.
const NodeBGPController = "node-bgp-controller"

// NodeBGPSource says which BGP annotations Nodes shall have: [NodeBGPRuleSource], or a vendor's API. It reads Nodes and writes none.
type NodeBGPSource interface {
	// Replay tells of every Node there is, the oldest first, before anything else is asked.
	Replay(nodes []*corev1.Node)
	// Run lives until ctx ends and calls wake with the Nodes whose answer may be another by now; with none, for all. It starts after Replay. A
	// cancelled context is no error; any other end stops the process.
	Run(ctx context.Context, wake func(nodes ...string)) error
	// Wanted returns the annotations that a Node shall have of all that the source ever gives, at once. Nil is no answer: the Node keeps what it has.
	// The error, which may come beside annotations, is told on the Node; with [ErrNotYet] it isn't, and the Node is asked about again.
	Wanted(node *corev1.Node) (map[string]string, error)
	// Gone tells that a Node is no more.
	Gone(node string)
	// Owns reports whether nobody but the source has business with an annotation, so that a value that somebody else left there is replaced.
	Owns(key string) bool
}

// ErrNotYet is in the error of [NodeBGPSource.Wanted] when the answer is a moment away.
var ErrNotYet = errors.New("not read yet")

// NodeBGPOptions are the parts of [NodeBGP].
type NodeBGPOptions struct {
	// Client patches Nodes.
	Client kubernetes.Interface
	// Nodes is the informer of all Nodes; others run it.
	Nodes  cache.SharedIndexInformer
	Source NodeBGPSource
	Events record.EventRecorder
	Log    *slog.Logger
}

// NodeBGP is the controller that writes BGP configuration into the annotations of Nodes, one patch a Node, when a Node joins or changes and when the source says
// so. It removes what it wrote and the source wants no more, and never what somebody else wrote. One goroutine decides.
type NodeBGP struct {
	NodeBGPOptions
	lister corelisters.NodeLister
	queue  workqueue.TypedRateLimitingInterface[string] // Nodes
	told   map[string]string                            // by Node; belongs to the goroutine of Run
}

// NewNodeBGP returns a controller that does nothing before Run.
func NewNodeBGP(o NodeBGPOptions) *NodeBGP {
	return &NodeBGP{
		NodeBGPOptions: o, lister: corelisters.NewNodeLister(o.Nodes.GetIndexer()), told: map[string]string{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](minBackoff, maxBackoff), workqueue.TypedRateLimitingQueueConfig[string]{Name: "node-bgp"}),
	}
}

// Run serves until ctx ends.
func (c *NodeBGP) Run(ctx context.Context) error {
	handler, err := c.Nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.changed,
		UpdateFunc: func(_, obj any) { c.changed(obj) },
		DeleteFunc: c.changed,
	})
	if err != nil {
		return fmt.Errorf("watching Nodes: %w", err)
	}
	defer func() { _ = c.Nodes.RemoveEventHandler(handler) }()
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil
	}
	c.Source.Replay(c.nodes())
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		<-ctx.Done()
		c.queue.ShutDown()
		return nil
	})
	tasks.Go(func() error { return c.Source.Run(ctx, c.wake) })
	tasks.Go(func() error {
		for c.next(ctx) {
		}
		return nil
	})
	if err := tasks.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// nodes returns the Nodes, the oldest first.
func (c *NodeBGP) nodes() []*corev1.Node {
	nodes := make([]*corev1.Node, 0, 64)
	for _, obj := range c.Nodes.GetIndexer().List() {
		nodes = append(nodes, obj.(*corev1.Node))
	}
	slices.SortFunc(nodes, func(a, b *corev1.Node) int {
		if d := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return nodes
}

func (c *NodeBGP) changed(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		c.queue.Add(gone.Key)
	}
	if node, ok := obj.(*corev1.Node); ok {
		c.queue.Add(node.Name)
	}
}

// wake queues Nodes, or all.
func (c *NodeBGP) wake(names ...string) {
	if len(names) == 0 {
		for _, node := range c.nodes() {
			names = append(names, node.Name)
		}
	}
	for _, name := range names {
		c.queue.Add(name)
	}
}

func (c *NodeBGP) next(ctx context.Context) bool {
	name, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(name)
	if err := c.sync(ctx, name); err != nil && ctx.Err() == nil {
		c.Log.Warn("BGP annotations not written; trying again", "node", name, "err", err)
		c.queue.AddRateLimited(name)
		return true
	}
	c.queue.Forget(name)
	return true
}

// sync gives one Node what the source says.
func (c *NodeBGP) sync(ctx context.Context, name string) error {
	node, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		c.Source.Gone(name)
		delete(c.told, name)
		for waiting := range c.told {
			c.queue.Add(waiting) // for what that Node had, perhaps
		}
		return nil
	}
	if err != nil {
		return err
	}
	want, problem := c.Source.Wanted(node)
	if errors.Is(problem, ErrNotYet) {
		c.queue.AddAfter(name, askAgain)
		return nil
	}
	if want == nil {
		c.tell(node, problem) // what it has stays
		return nil
	}
	patch, foreign := nodePatch(node, want, c.Source.Owns)
	c.tell(node, errors.Join(problem, foreign))
	if patch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err = c.Client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err == nil {
		c.Log.Info("BGP annotations written", "node", name, "keys", len(want))
	}
	return err
}

// tell tells on the Node what is wrong, once.
func (c *NodeBGP) tell(node *corev1.Node, problem error) {
	if problem == nil {
		delete(c.told, node.Name)
		return
	}
	if c.told[node.Name] == problem.Error() {
		return
	}
	c.told[node.Name] = problem.Error()
	c.Events.Event(node, corev1.EventTypeWarning, "BGPNotConfigured", problem.Error())
	c.Log.Warn("BGP annotations", "node", node.Name, "err", problem)
}
